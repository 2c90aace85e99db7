"""What keeps `oplog_send` from starting, in one line that names the mend."""

from __future__ import annotations

import pytest
from django.db import connections

from sockstream.conf import settings
from sockstream.exceptions import ConfigError
from sockstream.sender.preflight import require_ready


def test_nothing(site: str) -> None:
    require_ready(site, settings())


@pytest.mark.parametrize("site", ["site_sqlite"], indirect=True)
@pytest.mark.parametrize("mode", [None, "", "deferred", "DEFERRED"])
def test_an_sqlite_that_would_refuse_the_application(
    site: str, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = connections[site].settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "transaction_mode", mode)
    with pytest.raises(ConfigError, match="database is locked") as raised:
        require_ready(site, settings())
    assert '"transaction_mode": "IMMEDIATE" to DATABASES' in raised.value.mend
    for good in ("IMMEDIATE", "exclusive"):
        monkeypatch.setitem(options, "transaction_mode", good)
        require_ready(site, settings())


@pytest.mark.parametrize("site", ["site_sqlite"], indirect=True)
def test_a_database_without_autocommit(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections[site].settings_dict, "AUTOCOMMIT", False)
    with pytest.raises(ConfigError, match="AUTOCOMMIT"):
        require_ready(site, settings())
