"""Who is let in when there is no room: whoever has said hello stays."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

import pytest

from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError
from sockstream.receiver.roads.mtls.admission import Admission

FILES = """
import resource
from sockstream.receiver.roads.mtls.admission import _allow_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(_allow_files({connections}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


class Named:
    """Stands for a connection, of which only its identity counts."""


def admission(**settings: int) -> Any:
    return Admission(Settings(**settings))  # type: ignore[arg-type]


def test_the_oldest_stranger_gives_way() -> None:
    door, crowd = admission(HANDSHAKES=2), [Named() for _ in range(4)]
    assert [door.enter(one) for one in crowd] == [None, None, crowd[0], crowd[1]]
    assert set(door.all) == {crowd[2], crowd[3]}


def test_who_has_said_hello_does_not() -> None:
    door, site, crowd = admission(HANDSHAKES=1), Named(), [Named(), Named()]
    door.enter(site)
    door.know(site)
    assert [door.enter(one) for one in crowd] == [None, crowd[0]]
    assert set(door.all) == {site, crowd[1]}


def test_a_house_full_of_sites_takes_nobody() -> None:
    door, sites = admission(CONNECTIONS=2), [Named(), Named()]
    for site in sites:
        door.enter(site)
        door.know(site)
    with pytest.raises(SockstreamError, match="There are 2 connections already") as caught:
        door.enter(Named())
    assert caught.value.code == "too-many-connections"
    door.forget(sites[0])
    assert door.enter(Named()) is None


def test_a_house_full_of_strangers_takes_a_site() -> None:
    door, crowd = admission(CONNECTIONS=2, HANDSHAKES=100), [Named(), Named(), Named()]
    assert [door.enter(one) for one in crowd] == [None, None, crowd[0]]


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "found"),
    [
        (64, 4096, 1000, "1000 1064"),
        (2048, 4096, 1000, "1000 2048"),
        (64, 200, 1000, "136 200"),
        (32, 64, 1000, "1 64"),
    ],
)
def test_the_limit_of_open_files(soft: int, hard: int, connections: int, found: str) -> None:
    """It is raised as far as it may, and if that is not far enough, there are fewer places."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("this user may not open as many files")
    code = FILES.format(soft=soft, hard=hard, connections=connections)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == found.split()
