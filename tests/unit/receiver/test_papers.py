"""Central's own files are read again when they change, and kept while they cannot be used."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from sockstream.exceptions import ConfigError
from sockstream.tls.papers import Papers, Paths
from tests.unit.trust import NOW, YEAR, Trust


class Place:
    """Where the files are; `paths` may be changed."""

    def __init__(self, folder: Path) -> None:
        self.trust = Trust(folder)
        self.paths = self.new()

    def new(self, days: int = 60) -> Paths:
        cert, key = self.trust.server(days=days)
        return Paths(str(self.trust.ca), str(cert), str(key), "")

    def __call__(self) -> Paths:
        return self.paths

    def exchange(self, days: int) -> None:
        """Other contents in the same files."""
        other = self.new(days)
        Path(other.cert).replace(self.paths.cert)
        Path(other.key).replace(self.paths.key)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_same_context_as_long_as_nothing_changes(place: Place) -> None:
    papers = Papers(place)
    assert papers.context() is papers.context()


def test_changed_files_are_read_at_the_next_handshake(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    papers = Papers(place)
    before, ends = papers.context(), papers.own.not_after
    place.exchange(days=90)
    with caplog.at_level(logging.INFO):
        assert papers.context() is not before
        papers.context()
    assert papers.own.not_after - ends == timedelta(days=30)
    [line] = caplog.messages
    assert line.startswith("The files have changed: from the next handshake on, central shows ")


def test_sighup_looks_where_the_files_are(place: Place) -> None:
    papers = Papers(place)
    before = papers.context()
    place.paths = place.new()
    assert papers.context() is before
    papers.read_again()
    assert papers.context() is not before
    assert papers.files == place.paths


def test_what_cannot_be_used_is_said_once_and_not_used(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    papers = Papers(place)
    before = papers.context()
    with caplog.at_level(logging.INFO):
        Path(place.paths.key).unlink()
        assert papers.context() is papers.context() is before
        [line] = caplog.messages
        assert "they cannot be used, and those that were read before still are" in line
        assert line.endswith("does not exist. Run: sockstream certs.")
        place.exchange(days=90)
        assert papers.context() is not before


def test_an_expired_one_is_not_taken(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    papers = Papers(place)
    before = papers.context()
    old = place.trust.server(made=NOW - YEAR, days=30)
    for new, path in zip(old, (place.paths.cert, place.paths.key), strict=True):
        new.replace(path)
    assert papers.context() is before
    assert "expired on" in caplog.messages[-1]
    with pytest.raises(ConfigError, match="expired on"):
        Papers(place)
