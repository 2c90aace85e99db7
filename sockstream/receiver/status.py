"""How the sites' streams stand at central, for `oplog_status`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from sockstream import tls
from sockstream.conf import settings
from sockstream.tls.expiry import warning

from .models import Offset, Source, State

# While a site is connected, it is noted as seen every RECHECK seconds.
_LOOKS = 3


def report(using: str) -> list[dict[str, Any]]:
    """The streams that central's database `using` has met: a dict each, by source and stream.

    docs/status.md explains the keys. Central cannot tell how much a site has not sent yet, so
    there is no backlog here: the site's own status has it.
    """
    rows = Offset.objects.using(using).select_related("source")
    return [_of(row) for row in rows.order_by("source__name", "stream")]


def _of(row: Offset) -> dict[str, Any]:
    return {
        "source": row.source.name,
        "stream": row.stream,
        "epoch": bytes(row.epoch or row.pending_epoch).hex()[:8],
        "seq": row.seq,
        "digest": bytes(row.digest).hex()[:8],
        "state": _state(row),
        "address": row.source.address,
        "certificate_expires": row.source.not_after,
        "certificate_warning": _certificate_warning(row.source),
        "connected_at": row.connected_at,
        "last_seen": row.source.last_seen,
        "applied_at": row.applied_at,
        "records": row.records_applied,
        "parked": row.parked,
        "staged": max(0, row.staged_seq - row.seq),
        "staged_bytes": row.staged_bytes,
        "inserts_met": row.inserts_met,
        "updates_missed": row.updates_missed,
        "deletes_missed": row.deletes_missed,
        "error_code": row.error_code,
        "error": row.error,
        "error_model": row.error_model,
        "error_key": row.error_key,
        "error_seq": row.error_seq,
        "error_at": row.error_at,
    }


def _certificate_warning(source: Source) -> str:
    if source.not_after is None or source.disabled:
        return ""
    whose = f"The certificate of the site {source.name}"
    given = settings()
    if source.not_after - timezone.now() > given.EXPIRY_WARNING:
        return ""
    name = source.name if tls.is_by_tool(given.CA) else ""
    return warning(whose, name, source.not_after, given.EXPIRY_WARNING, timezone.now())


def _state(row: Offset) -> str:
    """As noted; "lost" if it is noted as connected, but no oplog_receive says so any more."""
    if row.source.disabled:
        return "disabled" if row.source.retired_at is None else "retired"
    patience = timedelta(seconds=_LOOKS * settings().RECHECK)
    if row.state == State.CONNECTED and row.source.last_seen < timezone.now() - patience:
        return "lost"
    return row.state
