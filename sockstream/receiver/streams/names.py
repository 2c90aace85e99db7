"""What streams are called, and how one is recognised that comes under another name."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Self

from sockstream.exceptions import ConfigError
from sockstream.receiver.models import Offset, Source
from sockstream.wire.errors import WireError
from sockstream.wire.messages import Hello


@dataclass(frozen=True, slots=True)
class Name:
    """A source, or one stream of it, as people write it: SOURCE or SOURCE/STREAM."""

    source: str
    stream: str = ""

    def __str__(self) -> str:
        return f"{self.source}/{self.stream}" if self.stream else self.source

    @property
    def quoted(self) -> str:
        """As an argument for a shell."""
        return shlex.quote(str(self))

    @classmethod
    def parse(cls, text: str, using: str) -> Self:
        """A source's name may hold a slash: one that central knows wins.

        Raises ConfigError if a part is empty.
        """
        if "/" not in text or Source.objects.using(using).filter(name=text).exists():
            source, stream = text, ""
        else:
            source, _, stream = text.rpartition("/")
            if not stream:
                raise ConfigError(f"{text}: no stream is named", "Write SOURCE or SOURCE/STREAM")
        if not source:
            raise ConfigError(f"{text!r}: no source is named", "Write SOURCE or SOURCE/STREAM")
        return cls(source, stream)


def known_elsewhere(row: Offset, hello: Hello, using: str) -> Offset | None:
    """The stream of another name that the history in `hello` belongs to, or None.

    A fork is known by the epoch that it was forked from.
    """
    others = Offset.objects.using(using).select_related("source").exclude(pk=row.pk).order_by("pk")
    for epoch in (hello.epoch, hello.parent_epoch):
        if epoch and (found := others.filter(epoch=epoch).first()) is not None:
            return found
    return None


def renamed(row: Offset, other: Offset) -> WireError:
    """Why a stream that central has nothing of may not begin: it is another one's.

    Only a person may say that it goes on under the new name. An epoch is no secret, and what
    hangs on the old name, such as the rows that a snapshot takes away, would stay with it.
    """
    old, new = Name(other.source.name, other.stream), Name(row.source.name, row.stream)
    if old.stream == new.stream:
        names = Name(old.source).quoted, Name(new.source).quoted
    else:
        names = old.quoted, new.quoted
    return WireError(
        "source-renamed",
        f"{new} continues the stream {old}",
        f"If the site or its database alias was renamed, run manage.py oplog_source rename "
        f"{names[0]} {names[1]} at central. If it is a copy that is to be a site of its own, run "
        f"manage.py oplog_source adopt {new.quoted} at central, and manage.py oplog_snapshot "
        "--new-epoch at the copy",
    )


def mistaken(row: Offset, other: Offset) -> WireError:
    """Why a stream that has a history of its own may not go on with another one's."""
    old, new = Name(other.source.name, other.stream), Name(row.source.name, row.stream)
    return WireError(
        "epoch-unknown",
        f"{new} continues the stream {old}, and central has a history of {new} already",
        "Give each site its own certificate, or its old database, back",
    )
