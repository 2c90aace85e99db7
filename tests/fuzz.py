"""Coverage-guided fuzzing of the wire: `make fuzz SECONDS=60`, with ARGS="--target receiving" too.

atheris drives each target in a process of its own, from what is in tests/unit/wire/corpus. What
leads somewhere new is gathered in `.fuzz/TARGET`; what breaks a target stops the run, is written to
`.fuzz` and named. Put that file into the corpus, with the mend: `make test` replays it from then
on. `python -m tests.fuzz --keep` takes over what reaches more than the corpus does.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.unit.wire.corpus import CORPUS, KEPT_SIZE
from tests.unit.wire.seeds import seeds
from tests.unit.wire.targets import TARGETS

WORK = Path(".fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--seeds", action="store_true", help="write the seeds into the corpus anew")
    parser.add_argument(
        "--keep", action="store_true", help="take into the corpus what reaches more than it does"
    )
    options = parser.parse_args()
    if options.seeds:
        write_seeds()
        return 0
    targets = [options.target] if options.target else list(TARGETS)
    seconds = max(1, options.seconds // len(targets))
    return max(fuzz(target, seconds, keep=options.keep) for target in targets)


def fuzz(target: str, seconds: int, *, keep: bool) -> int:
    """Fuzz one target; the exit status of its process."""
    found, known = WORK / target, CORPUS / target
    found.mkdir(parents=True, exist_ok=True)
    where = [str(known), str(found)] if keep else [str(found), str(known)]
    how = "-merge=1" if keep else f"-max_total_time={seconds}"
    limits = [f"-max_len={KEPT_SIZE}", "-timeout=10", "-rss_limit_mb=1024"]
    command = [sys.executable, "-m", "tests.fuzz_target", target, how, *limits]
    prefix = f"-artifact_prefix={WORK / target}-"
    return subprocess.run(
        [*command, "-print_final_stats=1", prefix, *where], check=False
    ).returncode


def write_seeds() -> None:
    """Write what `seeds` gives, under names that its content gives."""
    for target, inputs in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for data in inputs:
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
