"""What each end finds at the handshake. Pure functions: what is known goes in, a judgement out.

| found | answer |
|---|---|
| no common version of the protocol | `version-unsupported` |
| central knows nothing of the stream, and the site holds it from 1 on | go on at 1 |
| the same, and the site's first records are gone | `unknown-source` |
| another epoch, forked from the known one, and the site holds it from 1 on | go on at 1 |
| another epoch than the known one | `epoch-unknown` |
| the site ends before central's offset | `sender-rewound` |
| the digests at the offset differ | `history-diverged` |
| central's offset is before what it acked, the records are held | `receiver-rewound`, a warning |
| the records after the offset are gone | `gap` |
| central has staged records, and the digests at their end are equal | go on after them |

Central sees the site's digest only at the site's end, so the site looks at the digest at the
offset itself before it confirms. An epoch never changes by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .digest import ZERO, Position
from .errors import Class, WireError
from .messages import Hello, Welcome

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
PROTOCOL = PROTOCOL_MAX

SAME = "same"
DIFFERS = "differs"
UNKNOWN = "unknown"

_FORK = "run manage.py oplog_snapshot --new-epoch at the site"
_HIGHEST_SEQ = 1 << 53
_FAR = 1 << 32
_HIGHEST_SESSION = 1 << 52
_COMPARE = f"Nothing was changed. Find out which end was restored or copied; to go on, {_FORK}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What central answers: the values of its welcome that follow from what it knows.

    `warning` is to be shown, and changes nothing.
    """

    protocol: int
    session: int
    offset: int
    digest: bytes
    schema_verdict: str
    warning: WireError | None


@dataclass(frozen=True, slots=True)
class Resumption:
    """What the site found: it goes on with `next_seq`, before which the digest is `digest`.

    `warning` is to be shown.
    """

    next_seq: int
    digest: bytes
    warning: WireError | None


def judge_hello(
    hello: Hello,
    known: Position | None,
    session: int = 0,
    confirmed: bool = True,
    *,
    pending: Collection[bytes] = (),
    name: str = "SOURCE",
    schema: bytes = b"",
    protocols: tuple[int, int] = (PROTOCOL_MIN, PROTOCOL_MAX),
) -> Judgement:
    """What central answers to `hello`.

    `known` is what it has applied of the stream (None: nothing), `pending` the epochs that it heard
    of since and has nothing of, `session` the last number that it gave, and `confirmed` whether
    that one was confirmed: a lost welcome is answered with the same number.
    `name` is how a command calls the stream, `schema` the fingerprint of central's own models, b""
    if it has none. Raises WireError: bad-message, version-unsupported, unknown-source,
    epoch-unknown, sender-rewound, history-diverged or gap.
    """
    protocol = _common_version(hello, protocols)
    _check_range(hello)
    _check_session(hello, session)
    if known is None or _is_fork(hello, known, pending):
        _check_new(hello)
        known = Position(hello.epoch, 0, ZERO)
    else:
        _check_known(hello, known, name)
    return Judgement(
        protocol=protocol,
        session=_session_number(hello, session, confirmed),
        offset=known.seq,
        digest=known.digest,
        schema_verdict=_schema_verdict(hello.schema, schema),
        warning=_rewound(known.seq, hello.acked_seq),
    )


def judge_welcome(
    welcome: Welcome,
    digest_at_offset: bytes | None,
    first: int,
    last: int,
    *,
    digest_at_staged: bytes | None = None,
    acked: int = 0,
    protocols: tuple[int, int] = (PROTOCOL_MIN, PROTOCOL_MAX),
) -> Resumption:
    """What the site finds in `welcome`.

    `digest_at_offset` is the site's own, None if its oplog has no group that ends there, and
    `digest_at_staged` the one at `staged_seq`; `first` and `last` are the numbers that it holds
    (last < first: none), `acked` the last one acked. What central has staged of another history is
    of no account: nothing of it is applied.
    Raises WireError: version-unsupported, sender-rewound, gap or history-diverged.
    """
    offset = welcome.offset
    if not protocols[0] <= welcome.protocol <= protocols[1]:
        raise _no_common_version(f"Central chose version {welcome.protocol}", protocols)
    if offset > last:
        raise _sender_rewound(last, offset)
    if offset + 1 < first:
        raise _gap(offset, first)
    if digest_at_offset != welcome.digest:
        raise _diverged(offset)
    seq, digest = offset, welcome.digest
    if offset < welcome.staged_seq <= last and digest_at_staged == welcome.staged_digest:
        seq, digest = welcome.staged_seq, welcome.staged_digest
    return Resumption(seq + 1, digest, _rewound(offset, acked))


def _common_version(hello: Hello, protocols: tuple[int, int]) -> int:
    lowest = max(hello.protocol_min, protocols[0])
    highest = min(hello.protocol_max, protocols[1])
    if lowest > highest:
        theirs = f"The site speaks versions {hello.protocol_min} to {hello.protocol_max}"
        raise _no_common_version(theirs, protocols)
    return highest


def _check_range(hello: Hello) -> None:
    held = hello.highest_seq - hello.lowest_seq + 1
    if held < 0 or hello.acked_seq > hello.highest_seq:
        raise WireError("bad-message", "The numbers in a hello contradict each other")
    if hello.highest_seq > _HIGHEST_SEQ:
        raise WireError("bad-message", f"No site has {hello.highest_seq} records")


def _check_session(hello: Hello, session: int) -> None:
    """A number far above ours can come from no site, and would leave none to give."""
    ours = 0 < session < _HIGHEST_SESSION
    if hello.last_session > (session + _FAR if ours else _HIGHEST_SESSION - 1):
        raise WireError(
            "bad-message",
            f"The last session of a hello is {hello.last_session}, far above any that central gave",
        )


def _is_fork(hello: Hello, known: Position, pending: Collection[bytes]) -> bool:
    """Whether a person at the site began a new epoch after the known one, with a snapshot."""
    parents = {known.epoch, *pending}
    return hello.epoch != known.epoch and hello.parent_epoch in parents


def _check_new(hello: Hello) -> None:
    if hello.lowest_seq > 1:
        raise WireError(
            "unknown-source",
            f"Central has nothing of this stream, and the site's records before "
            f"{hello.lowest_seq} are gone",
            f"Restore central's database, or {_FORK}",
        )


def _check_known(hello: Hello, known: Position, name: str) -> None:
    if hello.epoch != known.epoch:
        raise WireError(
            "epoch-unknown",
            f"The site's history began anew (epoch {hello.epoch.hex()[:8]}); central has "
            f"{known.seq} records of another one ({known.epoch.hex()[:8]})",
            f"If the site's database was made anew, run manage.py oplog_source adopt {name} at "
            "central; else give the site its old database back",
        )
    if hello.highest_seq < known.seq:
        raise _sender_rewound(hello.highest_seq, known.seq)
    if hello.highest_seq == known.seq and hello.digest != known.digest:
        raise _diverged(known.seq)
    if known.seq + 1 < hello.lowest_seq:
        raise _gap(known.seq, hello.lowest_seq)


def _session_number(hello: Hello, session: int, confirmed: bool) -> int:
    if session >= _HIGHEST_SESSION:
        session, confirmed = 0, True
    if not confirmed and hello.last_session <= session:
        return max(session, 1)
    return max(session, hello.last_session) + 1


def _schema_verdict(theirs: bytes, ours: bytes) -> str:
    if not theirs or not ours:
        return UNKNOWN
    return SAME if theirs == ours else DIFFERS


def _no_common_version(words: str, protocols: tuple[int, int]) -> WireError:
    return WireError(
        "version-unsupported",
        f"{words} of the protocol, this end {protocols[0]} to {protocols[1]}",
        "Upgrade the older end",
    )


def _sender_rewound(last: int, offset: int) -> WireError:
    return WireError(
        "sender-rewound",
        f"The site's history ends at {last}, central has applied it up to {offset}: "
        "the site's database was restored from an older copy",
        _COMPARE,
        offset,
    )


def _diverged(offset: int) -> WireError:
    return WireError(
        "history-diverged",
        f"The site and central hold different histories up to record {offset}",
        _COMPARE,
        offset,
    )


def _gap(offset: int, first: int) -> WireError:
    return WireError(
        "gap",
        f"Central needs the records from {offset + 1} on, the site holds them from {first} on",
        f"Restore a newer copy of central's database, or {_FORK}",
        offset + 1,
        class_=Class.PERSON,
    )


def _rewound(offset: int, acked: int) -> WireError | None:
    if offset >= acked:
        return None
    return WireError(
        "receiver-rewound",
        f"Central stands at {offset} although it had acked {acked}: its database was restored "
        "from an older copy. What it lost is sent again",
        "",
        offset,
    )
