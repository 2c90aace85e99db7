#!/usr/bin/env python
"""The central site's commands: python receiver/manage.py migrate, for example."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Run one command."""
    # Python put this file's folder there. With the root instead, every module has one name.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "receiver.settings")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
