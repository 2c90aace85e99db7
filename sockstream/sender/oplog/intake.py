"""The intake: runs the sequencer when something was captured, one short step at a time."""

from __future__ import annotations

from collections.abc import Iterator

from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError

from . import store
from .floor import Floor
from .sequencer import Sequencer
from .wake import waker


class Intake:
    """Moves captured rows of database `using` into its oplog.

    `first_end` is the seq up to which the first look found captured rows; None before its end.
    `error` is what a record that cannot be sent was refused with. Numbering stops there, since
    whatever comes behind may depend on it; what has its number is sent all the same. `stepped`:
    the last step had something to do.
    """

    def __init__(self, using: str, settings: Settings) -> None:
        self.first_end: int | None = None
        self.error: SockstreamError | None = None
        self.stepped = False
        self._using = using
        floor = Floor(using)
        self._sequencer = Sequencer(using, settings, floor)
        self._waker = waker(using, settings.POLL, floor)
        self._steps: Iterator[int] | None = None
        # What was there before the waker was, it need not tell.
        self._woken = True

    @property
    def interval(self) -> float | None:
        """Seconds between two looks at `ready`; None if `fileno` becomes readable by itself."""
        return self._waker.interval

    @property
    def numbering(self) -> bool:
        """Whether a pass is at work: what it has begun, it will end."""
        return self._steps is not None

    def fileno(self) -> int | None:
        return self._waker.fileno()

    def close(self) -> None:
        self._waker.close()

    def ready(self) -> bool:
        """Whether `step` may find something to do."""
        if self.error is not None:
            return False
        self._woken = self._woken or self._waker.woken()
        return self._woken or self._steps is not None

    def step(self) -> bool:
        """Number a few records, if there are any. Returns whether there may be more."""
        self.stepped = self.ready()
        if not self.stepped:
            return False
        if self._steps is None:
            self._woken = False
            self._steps = self._sequencer.steps()
        try:
            if next(self._steps, None) is not None:
                return True
        except SockstreamError as error:
            self.error = error
        self._steps = None
        if self.first_end is None:
            self.first_end = store.whole_up_to(self._using)
        return False
