"""Mutual TLS for both ends: who is who, why not, and our own files as they are now."""

from __future__ import annotations

from .contexts import Peer as Peer
from .contexts import Stamps as Stamps
from .contexts import check_revoked as check_revoked
from .contexts import client_context as client_context
from .contexts import explain as explain
from .contexts import own_not_after as own_not_after
from .contexts import peer_identity as peer_identity
from .contexts import require_valid as require_valid
from .contexts import server_context as server_context
from .contexts import stamps as stamps
