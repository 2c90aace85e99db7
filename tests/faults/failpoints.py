"""Run a management command that kills itself at a named point, once it is asked to.

As the launcher of an End (`dying`): the command runs in this very process, with one function of
its code wrapped. It dies there with SIGKILL as soon as the file that it was given is there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import django

NOWHERE = "nowhere"
PRUNING = "pruning"
STAGING = "staging"
PRUNE_EVERY = 0.05

Call = Callable[..., Any]
Asked = Callable[[], bool]


def dying(point: str, asked: Path) -> Sequence[str]:
    """The launcher of an End that dies at `point` once the file `asked` is there."""
    return [sys.executable, "-m", "tests.faults.failpoints", point, str(asked)]


def main() -> None:
    """The arguments: a point, the file, and the command line that would run without us."""
    _, point, asked, _python, _m, _django, *command = sys.argv
    os.environ["DJANGO_SETTINGS_MODULE"] = command[command.index("--settings") + 1]
    django.setup()
    if point.startswith(PRUNING):
        prune_soon()
    if point.startswith(STAGING):
        stage_each_batch()
    if point in POINTS:
        arm(point, Path(asked))
    from django.core.management import execute_from_command_line

    execute_from_command_line(["django", *command])


def prune_soon() -> None:
    """Keep what is acked no longer than a moment; a timedelta cannot be set from outside."""
    from django.conf import settings

    from sockstream.sender import service

    settings.SOCKSTREAM["RETENTION"] = timedelta(0)
    service._LOOK_AGAIN_EVERY = PRUNE_EVERY


def stage_each_batch() -> None:
    """Let the applier have one batch at a time, however quickly they come."""
    from sockstream.receiver.applying.applier import Applier

    whole = Applier.apply

    def apply(self: Applier, batches: Sequence[Any], **_: Any) -> Any:
        return [whole(self, [batch]) for batch in batches][-1]

    Applier.apply = apply  # type: ignore[method-assign]


def arm(point: str, asked: Path) -> None:
    """Wrap what `point` names."""
    module, path, wrap = POINTS[point]
    owner: Any = import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    function = getattr(owner, name)
    setattr(owner, name, wraps(function)(wrap(function, asked.exists)))


def before(function: Call, asked: Asked) -> Call:
    """Die instead of the call."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if asked():
            die()
        return function(*args, **kwargs)

    return wrapped


def after(function: Call, asked: Asked) -> Call:
    """Die when the call has done its work."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if asked():
            die()
        return result

    return wrapped


def with_records(part: float) -> Callable[[Call, Asked], Call]:
    """Around Link.send: die when that part of a frame of records has gone into the socket."""

    def wrap(function: Call, asked: Asked) -> Call:
        def wrapped(link: Any, data: bytes) -> None:
            at = begin_of_records(data)
            if at is None or not asked():
                function(link, data)
                return
            function(link, data[: at + int(part * (len(data) - at))])
            while link.unsent:
                link.flush()
            die()

        return wrapped

    return wrap


def begin_of_records(data: bytes) -> int | None:
    """Where the first frame of records begins among these frames: a ping may stand before it."""
    from sockstream.wire.messages import _TYPES, Records

    at = 0
    while at < len(data):
        # The length, the head of an array, and the type of the message.
        if data[at + 5] == _TYPES[Records]:
            return at
        at += 4 + int.from_bytes(data[at : at + 4])
    return None


def with_acked_batches(function: Call, asked: Asked) -> Call:
    """Around store._prune_some: die if there is something to prune."""

    def wrapped(using: str, *args: Any) -> Any:
        from sockstream.sender.models import Batch
        from sockstream.sender.oplog import store

        acked = store.stream(using).acked_seq
        if asked() and Batch.objects.using(using).filter(last_seq__lte=acked).exists():
            die()
        return function(using, *args)

    return wrapped


def after_batches(function: Call, asked: Asked) -> Call:
    """Around QuerySet.delete: die in the transaction that removes batches from the oplog."""

    def wrapped(rows: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(rows, *args, **kwargs)
        if rows.model._meta.label == "sockstream_sender.Batch" and asked():
            die()
        return result

    return wrapped


def die() -> None:
    """As `kill -9` does it: nothing is flushed, closed or rolled back by us."""
    os.kill(os.getpid(), signal.SIGKILL)


_SENDER = "sockstream.sender"
_MTLS = "sockstream.receiver.roads.mtls"
_APPLYING = "sockstream.receiver.applying"

# What is wrapped at each point, and how.
POINTS: dict[str, tuple[str, str, Callable[[Call, Asked], Call]]] = {
    # A sender.
    "stored, not committed": (f"{_SENDER}.oplog.store", "append", after),
    "numbered, not sent": ("sockstream.wire.sending", "SendingSession.send", before),
    "half a frame sent": (f"{_SENDER}.link", "Link.send", with_records(0.5)),
    "sent, not acked": (f"{_SENDER}.link", "Link.send", with_records(1)),
    "session stored, not confirmed": (f"{_SENDER}.oplog.store", "note_session", after),
    "pruning: acked, not pruned": (f"{_SENDER}.oplog.store", "_prune_some", with_acked_batches),
    "pruning: removed, not committed": ("django.db.models.query", "QuerySet.delete", after_batches),
    # Central.
    "opened, not welcomed": ("sockstream.receiver.streams.offsets", "open_stream", after),
    "welcomed, not confirmed": (f"{_MTLS}.link", "Link._welcome", after),
    "read, not begun": (f"{_APPLYING}.applier", "Applier.apply", before),
    "rows written, offset not moved": (f"{_APPLYING}.tables.writing", "Writer.write", after),
    "offset moved, not committed": (f"{_APPLYING}.applier", "move", after),
    "committed, not acked": (f"{_MTLS}.link", "Link._committed", before),
    # Central, with a group in several batches.
    "staging: stored, not committed": (f"{_APPLYING}.staging", "add", after),
    "staging: committed": (f"{_APPLYING}.applier", "Applier._stage", after),
    "staging: rows written": (f"{_APPLYING}.tables.writing", "Writer.write", after),
    "staging: dropped, offset not moved": (f"{_APPLYING}.staging", "drop", after),
    "staging: offset moved, not committed": (f"{_APPLYING}.applier", "move", after),
    "staging: committed as a whole": (f"{_APPLYING}.applier", "Applier._note_commit", before),
}


if __name__ == "__main__":
    main()
