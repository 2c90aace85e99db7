"""`oplog_status`: one implementation that shows whichever ends are installed here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.management.base import CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseError
from django.db import connections, router
from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import tls
from .commands import SockstreamCommand, database
from .conf import settings
from .databases.readiness import require_migrations, unreachable
from .exceptions import ConfigError, printable
from .tls import expiry

Row = dict[str, Any]
WIDE = 160


@dataclass(frozen=True)
class Column:
    """One column of a table: its title, and the text that it takes from a row."""

    title: str
    text: Callable[[Row], str]
    number: bool = False


@dataclass(frozen=True)
class Section:
    """One end's streams: `name` is "site" or "central", `rows` what `--json` prints."""

    name: str
    rows: list[Row]


@dataclass(frozen=True)
class Certificate:
    """This end's own: its file, when it expires, and a `warning` if that is soon."""

    file: str
    expires: datetime | None
    warning: str


@dataclass(frozen=True)
class _End:
    name: str
    app_label: str
    module: str
    model: str


_ENDS = (
    _End("site", "sockstream_sender", "sockstream.sender.status", "Stream"),
    _End("central", "sockstream_receiver", "sockstream.receiver.status", "Offset"),
)


class StatusCommand(SockstreamCommand):
    """Show how the streams stand."""

    help = "Show how the streams stand, at whichever end this is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
        parser.add_argument(
            "--database", metavar="ALIAS", help="only this database (default: each with our tables)"
        )

    def run(self, options: dict[str, Any]) -> None:
        only = database(options) if options["database"] else None
        found = sections(only)
        own = own_certificate()
        if options["json"]:
            self.stdout.write(as_json(found, own))
            return
        file: Any = self.stdout
        width = None if file.isatty() else WIDE
        console = Console(file=file, width=width, no_color=options["no_color"])
        show(found, console)
        if own is not None and own.warning:
            _print_line(console, own.warning)


def sections(only: str | None = None) -> list[Section]:
    """What the installed ends report, from the database `only` or from each that has their tables.

    Raises SockstreamError if the tables are nowhere, or a database does not answer.
    """
    ends = [end for end in _ENDS if apps.is_installed(end.module.rpartition(".")[0])]
    found = [section for end in ends for section in _section(end, only)]
    if not found:
        raise ConfigError(
            f"Database {only!r} holds no tables of sockstream",
            "Name another --database, or leave it out",
        )
    return found


def _section(end: _End, only: str | None) -> list[Section]:
    model = apps.get_model(end.app_label, end.model)
    homes = [alias for alias in connections if router.allow_migrate_model(alias, model)]
    if only is not None:
        homes = [alias for alias in homes if alias == only]
    if not homes:
        return []
    filled = [alias for alias in homes if _has_table(alias, model._meta.db_table)]
    if not filled:
        require_migrations(homes[0], [end.app_label])
    report = import_module(end.module).report
    rows = [{"database": alias, **row} for alias in filled for row in _read(report, alias)]
    return [Section(end.name, rows)]


def own_certificate() -> Certificate | None:
    """The certificate that SOCKSTREAM["CERT"] names; None if it names none."""
    given = settings()
    if not given.CERT:
        return None
    try:
        own = tls.read_own(given.CERT)
    except ConfigError as error:
        return Certificate(given.CERT, None, str(error))
    whose, within = f"The certificate {given.CERT}", given.EXPIRY_WARNING
    words = expiry.warning(whose, own.name, own.not_after, within, timezone.now())
    return Certificate(given.CERT, own.not_after, words)


def _has_table(alias: str, table: str) -> bool:
    try:
        return table in connections[alias].introspection.table_names()
    except DatabaseError as error:
        raise unreachable(alias, error) from error


def _read(report: Callable[[str], list[Row]], alias: str) -> list[Row]:
    try:
        return report(alias)
    except DatabaseError as error:
        raise unreachable(alias, error) from error


def as_json(found: Iterable[Section], own: Certificate | None = None) -> str:
    """All of it as one JSON object; docs/status.md lists its keys, which stay as they are."""
    everything: dict[str, Any] = {section.name: section.rows for section in found}
    everything["certificate"] = None if own is None else asdict(own)
    return json.dumps(everything, indent=2, cls=DjangoJSONEncoder)


def show(found: Iterable[Section], console: Console) -> None:
    """Print a table for each end, and below it each error and warning in full."""
    for section in found:
        columns = _COLUMNS[section.name]
        table = Table(title=section.name, title_justify="left")
        for column in columns:
            table.add_column(column.title, justify="right" if column.number else "left")
        for row in section.rows:
            table.add_row(*(escape(printable(column.text(row))) for column in columns))
        console.print(table)
        if not section.rows:
            console.print("No stream yet.")
        for row in section.rows:
            for line in _error_lines(row):
                _print_line(console, line)
        # A site with several streams has one certificate.
        for line in dict.fromkeys(row.get("certificate_warning", "") for row in section.rows):
            if line:
                _print_line(console, line)


def _print_line(console: Console, line: str) -> None:
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _error_lines(row: Row) -> Sequence[str]:
    name = f"{row['source']}/{row['stream']}" if "source" in row else row["stream"]
    lines = []
    if row.get("snapshot_error"):
        lines.append(f"{name}: {row['snapshot_error']}")
    if row.get("staged"):
        size = f"{row['staged_bytes'] / (1 << 20):,.1f} MiB"
        lines.append(f"{name}: {row['staged']:,} records ({size}) of a transaction are staged")
    if row["error_code"]:
        lines.append(f"{name}: {row['error_code']}: {row['error']}")
    if row.get("error_model"):
        lines.append(
            f"  at seq {row['error_seq']}: {row['error_model']} with the key {row['error_key']}"
        )
    return lines


def _plain(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key])


def _count(key: str) -> Callable[[Row], str]:
    return lambda row: f"{row[key]:,}"


def _ago(key: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        at: datetime | None = row[key]
        return "never" if at is None else f"{_span((timezone.now() - at).total_seconds())} ago"

    return text


def _day(key: str) -> Callable[[Row], str]:
    return lambda row: "?" if row[key] is None else f"{row[key]:%Y-%m-%d}"


def _lag(row: Row) -> str:
    return "?" if row["lag"] is None else _span(row["lag"])


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _meetings(row: Row) -> str:
    return f"{row['inserts_met']}/{row['updates_missed']}/{row['deletes_missed']}"


_COLUMNS = {
    "site": (
        Column("stream", _plain("stream")),
        Column("epoch", _plain("epoch")),
        Column("seq", _count("seq"), number=True),
        Column("acked", _count("acked"), number=True),
        Column("backlog", _count("backlog"), number=True),
        Column("lag", _lag, number=True),
        Column("pruned", _count("pruned"), number=True),
        Column("state", _plain("state")),
        Column("since", _ago("state_at")),
        Column("central", _plain("peer")),
    ),
    "central": (
        Column("source", _plain("source")),
        Column("stream", _plain("stream")),
        Column("epoch", _plain("epoch")),
        Column("seq", _count("seq"), number=True),
        Column("digest", _plain("digest")),
        Column("records", _count("records"), number=True),
        Column("parked", _count("parked"), number=True),
        Column("met", _meetings, number=True),
        Column("state", _plain("state")),
        Column("seen", _ago("last_seen")),
        Column("applied", _ago("applied_at")),
        Column("address", _plain("address")),
        Column("certificate until", _day("certificate_expires")),
    ),
}
