"""manage.py oplog_source list|rename|disable|enable|adopt|retire|forget: the sites at central."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.core.management.base import CommandParser
from rich.console import Console

from sockstream import commands
from sockstream.databases import readiness
from sockstream.receiver import source_tables
from sockstream.receiver.patience import patiently
from sockstream.receiver.streams import registry
from sockstream.receiver.streams.names import Name
from sockstream.status import WIDE

T = TypeVar("T")

_SOURCE = "the site, as its certificate names it"
_STREAM = "SOURCE or SOURCE/STREAM; a source with one stream need not name it"


class Command(commands.SockstreamCommand):
    """Show the sources, and change what central makes of them."""

    help = "Show the sites that central knows, rename, disable, adopt, retire or forget one."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def action(name: str, words: str) -> CommandParser:
            made: CommandParser = actions.add_parser(name, help=words, description=words)
            commands.add_database_option(made)
            return made

        shown = action("list", "show the sources and their streams")
        shown.add_argument("--json", action="store_true", help="JSON, no table")
        renamed = action("rename", "the site or its database alias has a new name; all follows it")
        renamed.add_argument("old", help="SOURCE or SOURCE/STREAM")
        renamed.add_argument("new", help="likewise; it must have no history of its own")
        for name, words in (
            ("disable", "refuse the source and end its links; what it brought stays"),
            ("enable", "take a source again that was disabled or retired"),
            ("retire", "the site is gone for good: refuse it, and raise no alarm for it any more"),
        ):
            action(name, words).add_argument("source", help=_SOURCE)
        adopted = action(
            "adopt",
            "the next connection may begin the stream anew (epoch-unknown); with models, the site "
            "may take over central's own rows of these that it writes too, once (not-yours)",
        )
        adopted.add_argument("source", help=_STREAM)
        adopted.add_argument("models", nargs="*", metavar="MODEL", help="such as shop.order")
        forgotten = action(
            "forget",
            "delete what central knows of a source or a stream. Its rows stay, and belong to "
            "nobody. Revoke its certificate too: else it comes again as a new site",
        )
        forgotten.add_argument("source", help="SOURCE or SOURCE/STREAM")
        forgotten.add_argument("--yes", action="store_true", help="do not ask")

    def run(self, options: dict[str, Any]) -> None:
        self.using = commands.database(options)
        readiness.require_migrations(self.using, ["sockstream_receiver"])
        action: Callable[[dict[str, Any]], None] = getattr(self, f"_{options['action']}")
        action(options)

    def _list(self, options: dict[str, Any]) -> None:
        rows = registry.listed(self.using)
        if options["json"]:
            self.stdout.write(source_tables.as_json(rows))
            return
        file: Any = self.stdout
        width = None if file.isatty() else WIDE
        source_tables.show(rows, Console(file=file, width=width, no_color=options["no_color"]))

    def _rename(self, options: dict[str, Any]) -> None:
        old, new = self._name(options["old"]), self._name(options["new"])
        self._patiently(partial(registry.rename, old, new, using=self.using))
        self.stdout.write(f"{old} is {new} now. It goes on at its next connection.")

    def _disable(self, options: dict[str, Any]) -> None:
        name = self._name(options["source"])
        self._patiently(partial(registry.disable, name, using=self.using))
        self.stdout.write(f"{name} is disabled: oplog_receive ends its links within a second.")

    def _enable(self, options: dict[str, Any]) -> None:
        name = self._name(options["source"])
        self._patiently(partial(registry.enable, name, using=self.using))
        self.stdout.write(f"{name} is enabled.")

    def _retire(self, options: dict[str, Any]) -> None:
        name = self._name(options["source"])
        self._patiently(partial(registry.retire, name, using=self.using))
        self.stdout.write(f"{name} is retired: it is refused, and its rows stay.")

    def _adopt(self, options: dict[str, Any]) -> None:
        name, models = self._name(options["source"]), options["models"]
        if models:
            self._patiently(partial(registry.hand_over, name, models, using=self.using))
            self.stdout.write(
                f"{name} takes over central's own rows of {', '.join(models)} that it writes too, "
                "once: at its next connection, or with the next record of these."
            )
            return
        stream, before = self._patiently(partial(registry.adopt, name, using=self.using))
        self.stdout.write(
            f"{stream} stood at {before}; its next connection begins it anew. Rows of before that "
            "the site no longer has go with its next oplog_snapshot."
        )

    def _forget(self, options: dict[str, Any]) -> None:
        name = self._name(options["source"])
        if not options["yes"]:
            waiting = registry.parked(name, using=self.using)
            also = f" and its {waiting} parked rows" if waiting else ""
            commands.confirm(f"Forget {name}{also} for good?", "--yes")
        gone = self._patiently(partial(registry.forget, name, using=self.using))
        counts = ", ".join(f"{count} {model}" for model, count in sorted(gone.items()))
        self.stdout.write(f"{name} is forgotten ({counts or 'there was nothing'}). Its rows stay.")

    def _name(self, text: str) -> Name:
        return Name.parse(text, self.using)

    def _patiently(self, action: Callable[[], T]) -> T:
        return patiently(action, self.using, self.stderr.write)
