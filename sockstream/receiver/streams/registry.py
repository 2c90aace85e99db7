"""What people do to sources and streams: rename, disable, adopt, retire, forget.

Each function is one transaction, which begins with a write of the rows that an applier holds: so it
happens between two of the applier's. Raises ConfigError for a name that is none, and the database's
errors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

from sockstream.conf import settings
from sockstream.exceptions import ConfigError
from sockstream.receiver.applying import staging
from sockstream.receiver.models import Holding, Offset, Source, State
from sockstream.rows import captured_models
from sockstream.wire.digest import ZERO, Position

from .names import Name
from .offsets import wait_for_locks

_NO_ERROR: dict[str, Any] = {
    "state": State.IDLE,
    "error_code": "",
    "error": "",
    "error_model": "",
    "error_key": "",
    "error_seq": 0,
    "error_at": None,
}
_LIST = "manage.py oplog_source list shows them"


def disable(name: Name, *, using: str) -> None:
    """Refuse the source from now on, and end its links.

    One statement, which waits for no applier on databases that lock rows: the transaction that is
    open cannot commit any more, see progress.move.
    """
    _change(name, using, disabled=True)


def enable(name: Name, *, using: str) -> None:
    """Take a source again that was disabled or retired."""
    _change(name, using, disabled=False, retired_at=None)


def retire(name: Name, *, using: str) -> None:
    """The source is gone for good: it is refused, nothing of it is an alarm, its rows stay."""
    _change(name, using, disabled=True, retired_at=timezone.now())
    Offset.objects.using(using).filter(source__name=name.source).update(**_NO_ERROR)


def adopt(name: Name, *, using: str) -> tuple[Name, Position]:
    """Let the next hello begin the stream anew at record 1, whatever its epoch.

    Whoever sends it now is shut out. A source with one stream need not name it. Returns the stream
    and where it stood; the rows stay.
    """
    with _alone(name, using) as mine:
        rows = list(mine.select_related("source").order_by("stream"))
        if len(rows) != 1:
            named = ", ".join(str(Name(row.source.name, row.stream)) for row in rows)
            raise ConfigError(f"{name} has {len(rows)} streams", f"Name one: {named}")
        row = rows[0]
        before = Position(bytes(row.epoch), row.seq, bytes(row.digest))
        staging.drop(row, using)
        nothing = dict.fromkeys(("epoch", "pending_epoch", "pending_parent"), b"")
        mine.update(
            **nothing, anew=True, seq=0, digest=ZERO, **_NO_ERROR, session=0, confirmed=True
        )
    return Name(name.source, row.stream), before


def hand_over(name: Name, labels: Collection[str], *, using: str) -> None:
    """Let the source take over central's own rows of these models that it writes too, once.

    Another source's rows stay what they are. Raises ConfigError for a model that central does not
    take.
    """
    known = {model._meta.label_lower for model in captured_models(settings())}
    if unknown := sorted({label.lower() for label in labels} - known):
        raise ConfigError(
            f"Central does not take records of {', '.join(unknown)}",
            'Name models of SOCKSTREAM["MODELS"], such as shop.order',
        )
    with _alone(name, using) as mine:
        for row in mine.select_related("source"):
            for label in labels:
                Holding.objects.using(using).update_or_create(
                    source=row.source,
                    stream=row.stream,
                    model=label.lower(),
                    defaults={"adoption": Holding.Adoption.ALLOWED},
                )


def rename(old: Name, new: Name, *, using: str) -> None:
    """Give a source, or a stream, the name that it has at the site now.

    Everything that hangs on the old name follows. Raises ConfigError if the new one has a history
    of its own, or only one of the two names a stream.
    """
    if bool(old.stream) != bool(new.stream) or old == new:
        raise ConfigError(
            f"{old} cannot become {new}", "Write OLD NEW, or OLD/STREAM NEW/STREAM for one stream"
        )
    with _alone(old, using):
        _make_room(new, using)
        source = Source.objects.using(using).get(name=old.source)
        if not old.stream:
            Source.objects.using(using).filter(pk=source.pk).update(name=new.source)
            return
        seen = {"first_seen": source.first_seen, "last_seen": source.last_seen}
        target, _ = Source.objects.using(using).get_or_create(name=new.source, defaults=seen)
        for model in _hanging():
            mine = _of(old, model, using)
            mine.update(source=target, stream=new.stream)


def forget(name: Name, *, using: str) -> dict[str, int]:
    """Delete what central knows of a source or a stream, but for the rows that it brought.

    They belong to nobody then. Returns how many rows of central's own tables were deleted, by
    the model's name.
    """
    gone: dict[str, int] = {}
    with _alone(name, using):
        holdings = list(_of(name, Holding, using).values_list("pk", flat=True))
        for model in _held():
            held: models.QuerySet[Any] = models.QuerySet(model=model, using=using)
            _count(gone, model, held.filter(holding__in=holdings).delete()[0])
        for model in _hanging():
            _count(gone, model, _of(name, model, using).delete()[0])
        if not name.stream:
            Source.objects.using(using).filter(name=name.source).delete()
    return gone


def parked(name: Name, *, using: str) -> int:
    """How many rows of a source or a stream are parked."""
    return sum(row.parked for row in _of(name, Offset, using))


def listed(using: str) -> list[dict[str, Any]]:
    """The sources by name, each with its streams; docs/operations.md explains the keys."""
    found = Source.objects.using(using).prefetch_related("offsets").order_by("name")
    return [
        {
            "source": source.name,
            "state": state_of(source),
            "address": source.address,
            "first_seen": source.first_seen,
            "last_seen": source.last_seen,
            "retired_at": source.retired_at,
            "certificate_expires": source.not_after,
            "streams": [_stream(row) for row in _sorted(source.offsets.all())],
        }
        for source in found
    ]


def state_of(source: Source) -> str:
    """In a word, whether central takes the source."""
    if source.retired_at is not None:
        return "retired"
    return "disabled" if source.disabled else "enabled"


def _stream(row: Offset) -> dict[str, Any]:
    return {
        "stream": row.stream,
        "epoch": bytes(row.epoch).hex()[:8],
        "seq": row.seq,
        "state": row.state,
        "parked": row.parked,
        "error_code": row.error_code,
    }


def _sorted(rows: Iterable[Offset]) -> list[Offset]:
    return sorted(rows, key=lambda row: row.stream)


def _change(name: Name, using: str, **values: Any) -> None:
    if name.stream:
        raise ConfigError(f"{name} is a stream", f"Name the source alone: {name.source}")
    if not Source.objects.using(using).filter(name=name.source).update(**values):
        raise _unknown(name)


@contextmanager
def _alone(name: Name, using: str) -> Any:
    """A transaction in which no applier is at work on these streams; gives their offsets.

    The fence moves, so that who sends them has to come again.
    """
    with transaction.atomic(using=using):
        wait_for_locks(using)
        mine = _of(name, Offset, using)
        moved = mine.update(fence=F("fence") + 1)
        if not moved and (name.stream or not _of_source(name, using).exists()):
            raise _unknown(name)
        yield mine


def _make_room(name: Name, using: str) -> None:
    """Take away what a refused hello left of a name that has no history."""
    busy = [model for model in _hanging() if model is not Offset and _of(name, model, using)]
    if busy or _of(name, Offset, using).exclude(epoch=b""):
        raise ConfigError(
            f"{name} has a history of its own",
            f"If nobody needs it, run manage.py oplog_source forget {name.quoted} first",
        )
    _of(name, Offset, using).delete()
    if not name.stream:
        _of_source(name, using).delete()


def _unknown(name: Name) -> ConfigError:
    what = "stream" if name.stream else "source"
    return ConfigError(f"Central has no {what} {name}", _LIST)


def _of_source(name: Name, using: str) -> models.QuerySet[Source]:
    return Source.objects.using(using).filter(name=name.source)


def _of(name: Name, model: type[models.Model], using: str) -> models.QuerySet[Any]:
    rows: models.QuerySet[Any] = models.QuerySet(model=model, using=using)
    rows = rows.filter(source__name=name.source)
    return rows.filter(stream=name.stream) if name.stream else rows


def _hanging() -> list[type[models.Model]]:
    """The tables that say whose a row is by source and stream; offsets last."""
    ours = apps.get_app_config(Source._meta.app_label).get_models()
    found = [m for m in ours if {"source", "stream"} <= {f.name for f in m._meta.get_fields()}]
    return sorted(found, key=lambda model: model is Offset)


def _held() -> list[type[models.Model]]:
    """The tables whose rows name a holding by its number alone."""
    ours = apps.get_app_config(Source._meta.app_label).get_models()
    return [model for model in ours if "holding" in {f.name for f in model._meta.concrete_fields}]


def _count(gone: dict[str, int], model: type[models.Model], count: int) -> None:
    if count:
        gone[model._meta.object_name or ""] = count
