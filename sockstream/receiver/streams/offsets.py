"""Opening a stream: who may send, from where on, and the fence that shuts out who sent before."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from sockstream.conf import settings
from sockstream.databases import origin
from sockstream.receiver.applying import staging
from sockstream.receiver.applying.faults import Fenced, disabled
from sockstream.receiver.applying.progress import locked
from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import Offset, Source, State
from sockstream.tls import Peer
from sockstream.wire import handshake
from sockstream.wire.digest import Position
from sockstream.wire.errors import WireError
from sockstream.wire.messages import Hello

from .names import Name, known_elsewhere, mistaken, renamed

LOCK_WAIT = 10_000.0

_FLIPS = 3
_FLIPS_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a welcome needs to say, and the fence for the Applier of this session.

    `warning` is to be shown and changes nothing: central was restored, what it lost comes again.
    """

    source: str
    stream: str
    protocol: int
    session: int
    fence: int
    epoch: bytes
    offset: int
    digest: bytes
    staged_seq: int
    staged_digest: bytes
    schema_verdict: str
    warning: WireError | None


def open_stream(source: str, hello: Hello, *, using: str, schema: bytes = b"") -> Opened:
    """Let the site that says `hello` take its stream over from whoever sends it now.

    The source and its offset are made at first sight. The session gets the number after the last
    one, or the same again while that one is unconfirmed. `schema` is the fingerprint of central's
    models. Raises WireError if the site may not send, and notes why; raises database errors, for
    instance if another process holds the offset for longer than the lock timeout.
    """
    # Apart: whoever disables the source does not wait until this has the offset's lock.
    known = _source(source, using)
    with transaction.atomic(using=using):
        wait_for_locks(using)
        row = _offset(known, hello.stream, using)
        try:
            opened = _admit(row, hello, schema, using)
        except WireError as error:
            # What was found is kept, so the transaction has to end well before this is told.
            outcome: Opened | WireError = error
            _note_refusal(row, error)
        else:
            outcome = opened
        row.save(using=using)
        if isinstance(outcome, Opened) and row.staged_seq != outcome.staged_seq:
            staging.drop(row, using)  # of another epoch, or applied
    if isinstance(outcome, WireError):
        raise outcome
    return outcome


def judge(source: str, hello: Hello, *, using: str, schema: bytes = b"") -> None:
    """Whether `open_stream` would let the site in: looks only, without a lock, and notes nothing.

    Who has the stream now may hold its row, and goes on if the answer is no. Raises WireError.
    """
    known = Source.objects.using(using).filter(name=source).first()
    if known is not None:
        _check_room(known, hello.stream, using)
        rows = Offset.objects.using(using).select_related("source")
        if (row := rows.filter(source=known, stream=hello.stream).first()) is not None:
            _admit(row, hello, schema, using)


def wait_for_locks(using: str) -> None:
    """In a transaction: wait for LOCK_WAIT ms at most.

    An applier of another process may hold the offset for as long as its group is open.
    """
    with connections[using].cursor() as cursor:
        dialect(using).wait_for_locks(cursor, LOCK_WAIT)


def _source(name: str, using: str) -> Source:
    now = timezone.now()
    sources = Source.objects.using(using)
    sources.filter(name=name).update(last_seen=now)
    return sources.get_or_create(name=name, defaults={"first_seen": now, "last_seen": now})[0]


def _check_room(source: Source, stream: str, using: str) -> None:
    """A stream leaves a row behind, and a site names its streams itself."""
    most = settings().STREAMS
    streams = set(source.offsets.using(using).values_list("stream", flat=True))
    if stream not in streams and len(streams) >= most:
        raise WireError(
            "too-many-streams",
            f"The source {source.name} has {len(streams)} streams already",
            'Raise SOCKSTREAM["STREAMS"] at central if the site has more databases',
        )


def _offset(source: Source, stream: str, using: str) -> Offset:
    offsets = Offset.objects.using(using).select_related("source")
    # A write first: on SQLite, the transaction has to begin with one.
    if not offsets.filter(source=source, stream=stream).update(fence=F("fence")):
        _check_room(source, stream, using)
    return locked(offsets, using).get_or_create(source=source, stream=stream)[0]


def _admit(row: Offset, hello: Hello, schema: bytes, using: str) -> Opened:
    """Change `row`, which is not saved here, to what it is once the site has the stream.

    Raises WireError if the site may not have it.
    """
    if row.source.disabled:
        raise disabled(row.source)
    _look_for_loops(row, hello, using)
    _look_for_clones(row, hello)
    _look_for_other_names(row, hello, using)
    return _take_over(row, hello, schema)


def _look_for_clones(row: Offset, hello: Hello) -> None:
    """Two processes that send the same stream show as two instance ids taking turns.

    A new instance is a restart; one that comes back after another one was there is a second
    process. Once or twice can be a race, more often within ten minutes is a copied site.
    """
    if hello.instance == bytes(row.instance):
        return
    came_back = hello.instance == bytes(row.former_instance)
    row.former_instance, row.instance = row.instance, hello.instance
    if not came_back:
        return
    now = timezone.now()
    if row.flips_since is None or now - row.flips_since > _FLIPS_WITHIN:
        row.flips, row.flips_since = 0, now
    row.flips += 1
    if row.flips >= _FLIPS:
        raise WireError(
            "clone-suspected",
            f"Two processes take turns at sending the stream {row.stream}: "
            "the site may have been copied",
            "Stop one of the two and start the other one again",
        )


def _look_for_loops(row: Offset, hello: Hello, using: str) -> None:
    """What this central forwarded must not come back to it."""
    if hello.forwards and origin.own_id(using) in hello.forwards:
        raise WireError(
            "loop",
            f"{row.source.name}/{row.stream} forwards what this central sends: each row would go "
            "round for ever",
            'Set SOCKSTREAM["FORWARD"] to False at one of them, or let one of them not send',
        )
    row.forwards = " ".join(hello.forwards)


def _look_for_other_names(row: Offset, hello: Hello, using: str) -> None:
    """A history belongs to one name, until a person says otherwise."""
    known = bytes(row.epoch)
    fits = known in (hello.epoch, hello.parent_epoch) if known else row.anew
    if not fits and (other := known_elsewhere(row, hello, using)) is not None:
        raise mistaken(row, other) if known else renamed(row, other)


def _take_over(row: Offset, hello: Hello, schema: bytes) -> Opened:
    known = Position(bytes(row.epoch), row.seq, bytes(row.digest)) if row.epoch else None
    judgement = handshake.judge_hello(
        hello,
        known,
        row.session,
        row.confirmed,
        pending=set(map(bytes, (row.pending_epoch, row.pending_parent))) - {b""},
        name=Name(row.source.name, row.stream).quoted,
        schema=schema,
    )
    # The rest of the position stays that of what is applied, until something of the epoch is.
    # Whether the site hears of its welcome decides which of the two its next epoch comes from.
    ahead = hello.epoch != bytes(row.epoch)
    row.pending_epoch, row.pending_parent = (
        (hello.epoch, hello.parent_epoch) if ahead else (b"", b"")
    )
    staged_seq, staged_digest = staging.end_of(row, hello.epoch, judgement.offset)
    row.session = judgement.session
    row.confirmed = False
    row.fence = secrets.randbelow((1 << 63) - 1) + 1
    return Opened(
        source=row.source.name,
        stream=row.stream,
        protocol=judgement.protocol,
        session=judgement.session,
        fence=row.fence,
        epoch=hello.epoch,
        offset=judgement.offset,
        digest=judgement.digest,
        staged_seq=staged_seq,
        staged_digest=staged_digest,
        schema_verdict=judgement.schema_verdict,
        warning=judgement.warning,
    )


def _note_refusal(row: Offset, error: WireError) -> None:
    row.state = State.STOPPED
    row.error_code = error.code
    row.error = str(error)
    row.error_model = row.error_key = ""
    row.error_seq = 0
    row.error_at = timezone.now()


def confirm(opened: Opened, *, using: str) -> None:
    """The site has stored the session's number. Raises Fenced if a newer session has the stream.

    An error that stopped the stream before stays noted until the records after it are applied;
    one of the handshake is over.
    """
    mine = Offset.objects.using(using).filter(
        source__name=opened.source, stream=opened.stream, fence=opened.fence
    )
    now = timezone.now()
    if not mine.update(confirmed=True, connected_at=now):
        raise Fenced(f"{opened.source}/{opened.stream} has a newer session")
    mine.filter(error_seq=0).update(state=State.CONNECTED, error_code="", error="", error_at=None)


def leave(opened: Opened, *, using: str) -> None:
    """The link has ended: the stream is idle, unless it is stopped or a newer session has it."""
    Offset.objects.using(using).filter(
        source__name=opened.source,
        stream=opened.stream,
        fence=opened.fence,
        state=State.CONNECTED,
    ).update(state=State.IDLE)


def touch(source: str, peer: Peer, *, address: str, using: str) -> None:
    """Note the certificate and the address that a known source was seen with."""
    Source.objects.using(using).filter(name=source).update(
        last_seen=timezone.now(),
        serial=f"{peer.serial:x}",
        fingerprint=peer.fingerprint.hex(),
        not_after=peer.not_after,
        address=address,
    )
