"""Whether the sites may go on: looked at again and again while their links live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.utils import timezone

from sockstream import tls
from sockstream.exceptions import SockstreamError
from sockstream.receiver.models import Source
from sockstream.tls.papers import Paths
from sockstream.wire.errors import Class, WireError

from .offsets import disabled

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


def judge(peers: Iterable[tls.Peer], files: Paths, using: str) -> dict[tls.Peer, WireError]:
    """Those of the connected peers that may not go on, and why. Notes that the peers were seen."""
    met = set(peers)
    sources = Source.objects.using(using)
    names = sorted({peer.name for peer in met})
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        sources.filter(name__in=some).update(last_seen=timezone.now())
    out = {source.name: disabled(source) for source in sources.filter(disabled=True)}
    return {peer: error for peer in met if (error := _verdict(peer, files, out))}


def _verdict(peer: tls.Peer, files: Paths, out: Mapping[str, WireError]) -> WireError | None:
    if peer.name in out:
        return out[peer.name]
    try:
        check_certificate(peer, files)
    except WireError as error:
        return error
    return None
