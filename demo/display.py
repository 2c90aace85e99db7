"""What the demo shows: lines of what happens, how far everything is, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .compare import Difference
from .databases import Standing

LINE_EVERY = 1.0


class Display:
    """On a terminal one live line below the others; elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._begun = time.monotonic()
        self._next_line = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, words: str) -> None:
        """Something has happened."""
        self.console.print(Text.assemble((self._clock(), "dim"), f"  {words}"), soft_wrap=True)

    def show(self, now: Standing, *, always: bool = False) -> None:
        """How far everything is; called often."""
        if self.console.is_terminal:
            self._live.update(self._line(now), refresh=True)
        elif always or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY
            self.console.print(self._line(now), soft_wrap=True)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._begun:5.1f} s"

    def _line(self, now: Standing) -> Text:
        return Text.assemble(
            (self._clock(), "dim"),
            f"  rows {now.site_rows:,}/{now.central_rows:,}",
            f"  seq {now.seq:,}  acked {now.acked:,}  offset {now.offset:,}",
            f"  waiting {now.waiting:,}",
            no_wrap=True,
            overflow="ellipsis",
        )


def table(
    at_site: Mapping[str, int],
    at_central: Mapping[str, int],
    different: Sequence[Difference],
    now: Standing,
) -> Table:
    """Rows per model at both ends, how many differ, and the stream's position at both."""
    shown = Table(title="Compared row by row, field by field", show_footer=False)
    shown.add_column("")
    for name in ("site", "central", "differences"):
        shown.add_column(name, justify="right")
    for model in at_site:
        count = sum(found.model == model for found in different)
        shown.add_row(model, f"{at_site[model]:,}", f"{at_central[model]:,}", str(count))
    shown.add_section()
    shown.add_row("seq / offset", f"{now.seq:,}", f"{now.offset:,}", f"{now.seq - now.offset:,}")
    digests = now.site_digest.hex()[:16], now.central_digest.hex()[:16]
    alike = now.site_digest == now.central_digest
    shown.add_row("digest", *digests, "0" if alike else "1")
    return shown
