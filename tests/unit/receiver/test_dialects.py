"""Which dialect a connection speaks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sockstream.exceptions import ConfigError
from sockstream.receiver.dialects import dialect, dialect_of


def test_each_database_has_its_own() -> None:
    vendors = {alias: dialect(alias).vendor for alias in ("central_sqlite", "central_pg")}
    assert vendors == {"central_sqlite": "sqlite", "central_pg": "postgresql"}
    assert dialect("site_maria").vendor == "mysql"


def test_a_database_that_central_cannot_be_is_named() -> None:
    other: Any = SimpleNamespace(vendor="oracle", alias="archive", display_name="Oracle")
    with pytest.raises(ConfigError, match="Database 'archive' is Oracle, which sockstream cannot"):
        dialect_of(other)
