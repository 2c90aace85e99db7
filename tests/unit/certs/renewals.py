"""A program: renew the site's certificate in a folder again and again.

python -m tests.unit.certs.renewals FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from sockstream.certs import store
from tests.unit.certs.crashes import NOW

COUNT = 100


def main(folder: Path) -> None:
    """Renew it `COUNT` times."""
    for _ in range(COUNT):
        with store.opened(folder, NOW, days=None) as opened:
            opened.renew("site", 60)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
