"""The snapshots that are due, for writes were not captured: taken beside everything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError
from sockstream.sender.capture.copying import copiers
from sockstream.sender.models import Due, Installed

from .snapshot import Snapshot

_LOOK = 0.05


class DueSnapshots:
    """Takes them a step at a time; `say` is told in words how it goes.

    `waits`: it waits for the transactions of others, and wants to look again after `pause` seconds.
    """

    pause = _LOOK

    def __init__(self, using: str, settings: Settings, say: Callable[[str], None]) -> None:
        self.waits = False
        self._using = using
        self._settings = settings
        self._say = say
        self._steps: Generator[int | None, None, None] | None = None

    def look(self) -> None:
        """Begin a snapshot if one is due. Raises SockstreamError if it cannot be taken here."""
        if self._steps is not None:
            return
        due = dict(Due.objects.using(self._using).order_by("-id").values_list("model", "reason"))
        labels = self._of_this_process(due) if due else []
        if labels:
            for label in labels:
                self._say(f"{label}: {due[label]} were not captured, a snapshot of it is taken")
            self._steps = Snapshot(self._using, self._settings, labels, self._say).steps()

    def step(self) -> bool:
        """Take a step, if a snapshot is being taken. Returns whether there was one to take.

        Raises SockstreamError; the snapshot is begun anew by a later `look`.
        """
        self.waits = False
        if self._steps is None:
            return False
        try:
            count = next(self._steps)
        except StopIteration:
            self._steps = None
            return True
        except SockstreamError as error:
            self._steps = None
            if error.code == "snapshot-running":
                return False  # it brings what is due, or leaves it to the next one
            raise
        self.waits = count is None
        return not self.waits

    def take(self) -> None:
        """Take what is due from its beginning to its end."""
        self.look()
        while self._steps is not None:
            if not self.step() and self._steps is not None:
                time.sleep(self.pause)  # no event tells the end of somebody else's transaction

    def close(self) -> None:
        """Leave the snapshot as it is: it is still due."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def _of_this_process(self, due: dict[str, str]) -> list[str]:
        """Those of the models that this process knows as they were installed."""
        here = {
            label: each.plan.number for label, each in copiers(self._using, self._settings).items()
        }
        installed = Installed.objects.using(self._using).filter(model__in=due)
        stands = dict(installed.values_list("model", "layout"))
        if newer := [label for label in due if label in here and here[label] != stands.get(label)]:
            raise SockstreamError(
                "models-changed",
                f"{newer[0]} was changed while this process ran, and a snapshot of it is due",
                "Restart oplog_send",
            )
        return [label for label in due if label in here]
