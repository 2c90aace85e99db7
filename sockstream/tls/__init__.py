"""Mutual TLS for both ends: who is who, why not, and our own files as they are now."""

from __future__ import annotations

from sockstream.certs.files import is_by_tool as is_by_tool

from .contexts import Context as Context
from .contexts import Own as Own
from .contexts import Stamps as Stamps
from .contexts import client_context as client_context
from .contexts import read_own as read_own
from .contexts import require_valid as require_valid
from .contexts import server_context as server_context
from .contexts import stamps as stamps
from .failures import explain as explain
from .peers import Peer as Peer
from .peers import Step as Step
from .peers import peer_identity as peer_identity
from .revoked import check_revoked as check_revoked
from .revoked import shortcomings as shortcomings
