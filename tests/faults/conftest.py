"""Fixtures of the tests that start real processes."""

from __future__ import annotations

from tests.ends import certificates  # noqa: F401
from tests.integration.receiver.conftest import trust  # noqa: F401
