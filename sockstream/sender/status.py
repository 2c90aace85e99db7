"""How a site's stream stands, for `oplog_status`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Min
from django.utils import timezone

from sockstream.conf import settings

from .models import Batch, Capture, Stream
from .oplog import store
from .oplog.lease import SNAPSHOT, holder, is_held
from .oplog.snapshot import unfinished


def report(using: str) -> list[dict[str, Any]]:
    """The streams of the site's database `using`: one dict, whose keys docs/status.md explains.

    Reads only: before the first `oplog_send` there is no stream yet, and its numbers are 0.
    """
    row = Stream.objects.using(using).filter(id=1).first() or Stream(epoch=b"", digest=b"")
    captured = Capture.objects.using(using).count()
    unacked = row.seq - row.acked_seq
    sender, broken = holder(using), unfinished(using)
    return [
        {
            "stream": using,
            "epoch": bytes(row.epoch).hex()[:8],
            "seq": row.seq,
            "digest": bytes(row.digest).hex()[:8],
            "acked": row.acked_seq,
            "acked_at": row.acked_at,
            "captured": captured,
            "unacked": unacked,
            "backlog": captured + unacked,
            "lag": _lag(using, row.acked_seq, captured),
            "pruned": row.pruned_seq,
            "oplog_bytes": (held := store.size(using)),
            "oplog_large": held > settings().OPLOG_MAX_BYTES,
            "snapshot": "unfinished" if broken else "running" if is_held(using, SNAPSHOT) else "",
            "snapshot_error": str(broken or ""),
            "peer": row.peer,
            "running": sender is not None,
            "sender": str(sender or ""),
            "state": row.state if sender else "not running",
            "state_at": row.state_at,
            "error_code": row.error_code,
            "error": row.error,
        }
    ]


def _lag(using: str, acked: int, captured: int) -> float | None:
    """Seconds since the oldest unacked batch was numbered; None if that is not known yet."""
    waiting = Batch.objects.using(using).filter(last_seq__gt=acked)
    oldest: datetime | None = waiting.aggregate(at=Min("made_at"))["at"]
    if oldest is None:
        return None if captured else 0.0
    return max(0.0, round((timezone.now() - oldest).total_seconds(), 1))
