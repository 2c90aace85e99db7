"""The command `sockstream`: certificates. It needs no Django project, and loads no Django."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from . import __version__
from .certs import index, store
from .exceptions import ConfigError, SockstreamError

FOLDER = "certs"
DAYS = 730
MAX_DAYS = 36_500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status. Errors are one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return _certs(options)
    except SockstreamError as error:
        print(f"sockstream: {error}", file=sys.stderr)
    except OSError as error:
        print(f"sockstream: {_disk_error(error)}", file=sys.stderr)
    return 1


def _certs(options: argparse.Namespace) -> int:
    folder, now = Path(options.out), datetime.now(UTC)
    action = options.action
    if action == "list":
        print(_table(folder, now))
        if store.is_unfinished(folder):
            print("An earlier change was interrupted. This finishes it: sockstream certs")
        return 0
    makes = action in (None, "server", "client")
    with store.opened(folder, now, days=options.days if makes else None) as opened:
        if action is None:
            opened.make_plain(options.days)
        elif action == "server":
            opened.server(options.hosts, options.days)
        elif action == "client":
            opened.client(options.name, options.days)
        elif action == "renew":
            opened.renew(options.name, options.days, revoke_old=options.revoke_old)
        else:
            opened.revoke(options.name)
        done = opened.done
    nothing = f"{options.name} is revoked" if action == "revoke" else f"all of it is in {folder}"
    for line in done or [f"Nothing to do: {nothing} already"]:
        print(f"{line}.")
    return 0


def _table(folder: Path, now: datetime) -> str:
    ca = store.authority_of(folder)
    authority = index.Issued(store.CA, "authority", (), ca.serial_number, ca.not_valid_after_utc)
    rows = [("NAME", "KIND", "SERIAL", "EXPIRES", "REVOKED", "NOTE")]
    for entry, in_use in [(authority, True), *store.listed(folder, now)]:
        rows.append(
            (
                entry.name,
                entry.kind,
                f"{entry.serial:x}",
                f"{entry.not_after:%Y-%m-%d}",
                f"{entry.revoked:%Y-%m-%d}" if entry.revoked else "-",
                ("expired" if entry.not_after <= now else "") if in_use else "not here",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in line).rstrip() for line in lines
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sockstream", description="Tools of sockstream.")
    parser.add_argument("--version", action="version", version=f"sockstream {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    _add_options(shared, argparse.SUPPRESS, argparse.SUPPRESS)
    certs = commands.add_parser(
        "certs",
        help="make, renew, revoke and list certificates",
        description="Alone: an authority, a server certificate for localhost and a client"
        ' certificate named "site". What is there already is left alone.',
    )
    _add_options(certs, FOLDER, DAYS)
    actions = certs.add_subparsers(dest="action", metavar="ACTION")
    server = actions.add_parser("server", parents=[shared], help="a certificate for central")
    server.add_argument("hosts", nargs="+", metavar="HOST", help="DNS name or IP address")
    for name, text in (
        ("client", "a certificate for the site NAME"),
        ("renew", "a new key and certificate for NAME"),
        ("revoke", "have central refuse every certificate of NAME"),
    ):
        action = actions.add_parser(name, parents=[shared], help=text, description=text)
        action.add_argument("name", metavar="NAME")
        if name == "renew":
            action.add_argument(
                "--revoke-old", action="store_true", help="revoke the certificates before it"
            )
    actions.add_parser(
        "list", parents=[shared], help="what there is: kind, serial, expiry, revoked"
    )
    return parser


def _add_options(parser: argparse.ArgumentParser, out: str, days: int | str) -> None:
    parser.add_argument(
        "--out", metavar="DIR", default=out, help=f"the folder of the authority (default: {FOLDER})"
    )
    parser.add_argument(
        "--days",
        metavar="N",
        type=_days,
        default=days,
        help=f"how long a new certificate is good (default: {DAYS})",
    )


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to {MAX_DAYS}")
    return int(text)


def _disk_error(error: OSError) -> ConfigError:
    return ConfigError(
        f"{error.filename or 'The folder'}: {error.strerror or error}",
        "Check the folder's owner, its free space, and --out",
    )
