"""What can go wrong on the wire: stable codes, each of a class that says who has to act."""

from __future__ import annotations

from enum import StrEnum

from sockstream.exceptions import LONGEST_NAME, SockstreamError, printable


class Class(StrEnum):
    """What the other end does about an error.

    RETRY: nothing is wrong with the stream; come back after a while. RECONNECT: this link is of
    no use any more; the next handshake mends it. PERSON: stays until somebody acts. BUG: one of
    the ends broke the protocol.
    """

    RETRY = "retry"
    RECONNECT = "reconnect"
    PERSON = "person"
    BUG = "bug"


CODES: dict[str, Class] = {
    # Bytes and messages.
    "bad-frame": Class.BUG,
    "frame-too-large": Class.BUG,
    "bad-message": Class.BUG,
    "bad-state": Class.BUG,
    "bad-batch": Class.BUG,
    "bad-record": Class.BUG,
    "decompress-limit": Class.BUG,
    "digest-mismatch": Class.PERSON,
    "oplog-version": Class.PERSON,
    "record-too-large": Class.PERSON,
    # The link.
    "silence": Class.RECONNECT,
    "handshake-timeout": Class.RECONNECT,
    "drain-timeout": Class.RECONNECT,
    "connection-lost": Class.RECONNECT,
    "too-many-pings": Class.RECONNECT,
    "window-exceeded": Class.BUG,
    "gap": Class.RECONNECT,
    "fenced": Class.RECONNECT,
    # The handshake.
    "version-unsupported": Class.PERSON,
    "source-mismatch": Class.PERSON,
    "source-disabled": Class.PERSON,
    "too-many-streams": Class.PERSON,
    "auth-identity": Class.PERSON,
    "auth-revoked": Class.PERSON,
    "sender-rewound": Class.PERSON,
    "history-diverged": Class.PERSON,
    "epoch-unknown": Class.PERSON,
    "unknown-source": Class.PERSON,
    "source-renamed": Class.PERSON,
    "clone-suspected": Class.PERSON,
    "loop": Class.PERSON,
    # A warning, never an error: central was restored and what it lost is sent again.
    "receiver-rewound": Class.RETRY,
    # The applier.
    "record-refused": Class.PERSON,
    "key-collision": Class.PERSON,
    "not-yours": Class.PERSON,
    "model-not-allowed": Class.PERSON,
    "missing-reference": Class.PERSON,
    "schema-mismatch": Class.PERSON,
    "behind-parked": Class.PERSON,
    "too-many-parked": Class.PERSON,
    "group-too-large": Class.PERSON,
    "db-unavailable": Class.RETRY,
    "db-readonly": Class.RETRY,
    "disk-full": Class.RETRY,
    "busy": Class.RETRY,
    "retry": Class.RETRY,
    "internal": Class.BUG,
}


class WireError(SockstreamError):
    """An error that is told to the other end, or came from it.

    `code` is stable, `words` one sentence, `mend` what to do about it; `seq`, `model` and `key`
    name the record, if it is about one. `class_` is what CODES says, unless given: a code that a
    newer peer invented comes with its class.
    """

    def __init__(
        self,
        code: str,
        words: str,
        mend: str = "",
        seq: int = 0,
        *,
        model: str = "",
        key: str = "",
        class_: Class | None = None,
    ) -> None:
        super().__init__(code, words, mend)
        self.seq = seq
        self.model = printable(model, LONGEST_NAME)
        self.key = printable(key, LONGEST_NAME)
        self.class_ = class_ or CODES.get(code, Class.PERSON)

    @property
    def lasting(self) -> bool:
        """Whether a new connection does not mend it."""
        return self.class_ in (Class.PERSON, Class.BUG)
