"""Whether the sites may go on: looked at again and again while their links live."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from sockstream import tls
from sockstream.exceptions import SockstreamError
from sockstream.receiver.applying.faults import disabled
from sockstream.receiver.models import Source
from sockstream.tls.papers import Paths
from sockstream.wire.errors import Class, WireError

_AT_ONCE = 500


def check_certificate(peer: tls.Peer, files: Paths) -> None:
    """Raises WireError if the certificate is revoked, or nobody can tell."""
    try:
        tls.check_revoked(peer, files.crl or None, files.ca, strict=files.strict)
    except SockstreamError as error:
        # A list that cannot be read is central's fault, and is over once it is mended.
        revoked = error.code == "auth-revoked"
        class_ = Class.PERSON if revoked else Class.RETRY
        raise WireError(error.code, error.words, error.mend, class_=class_) from error


def revoked(peers: Iterable[tls.Peer], files: Paths) -> dict[tls.Peer, WireError]:
    """Those of the peers whose certificates are revoked, or of which nobody can tell."""
    return {peer: error for peer in peers if (error := _verdict(peer, files))}


def all_disabled(using: str) -> dict[str, WireError]:
    """What each source hears that a person has disabled or retired, by its name."""
    out = Source.objects.using(using).filter(disabled=True).only("name", "retired_at")
    return {source.name: disabled(source) for source in out}


def seen(names: Iterable[str], using: str) -> None:
    """Note that these sources are connected."""
    ordered = sorted(set(names))
    for start in range(0, len(ordered), _AT_ONCE):
        some = ordered[start : start + _AT_ONCE]
        Source.objects.using(using).filter(name__in=some).update(last_seen=timezone.now())


def _verdict(peer: tls.Peer, files: Paths) -> WireError | None:
    try:
        check_certificate(peer, files)
    except WireError as error:
        return error
    return None
