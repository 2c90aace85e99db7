"""Where our own certificate files are."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import override_settings

from sockstream.exceptions import ConfigError
from sockstream.tls import papers


def test_paths_from_options_win_over_settings(tmp_path: Path) -> None:
    with override_settings(SOCKSTREAM={"CA": "ca", "CERT": "cert", "KEY": "key"}):
        found = papers.paths({"ca": str(tmp_path / "mine.crt"), "cert": None, "key": ""})
    assert found == papers.Paths(str(tmp_path / "mine.crt"), "cert", "key", "")


def test_crl_lies_beside_the_ca(tmp_path: Path) -> None:
    (tmp_path / "crl.pem").touch()
    options = {"ca": str(tmp_path / "ca.crt"), "cert": "c", "key": "k"}
    with override_settings(SOCKSTREAM={}):
        assert papers.paths(options).crl == str(tmp_path / "crl.pem")
    with override_settings(SOCKSTREAM={"CRL": "elsewhere.pem"}):
        assert papers.paths(options).crl == "elsewhere.pem"


def test_a_missing_path_names_option_and_setting() -> None:
    with (
        override_settings(SOCKSTREAM={"CA": "ca", "CERT": "cert"}),
        pytest.raises(ConfigError, match=r'Neither --key nor SOCKSTREAM\["KEY"\] is given'),
    ):
        papers.paths({})
