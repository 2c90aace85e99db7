"""Refused connections: the first is said at once, the others are counted."""

from __future__ import annotations

import pytest

from sockstream.exceptions import SockstreamError
from sockstream.receiver.roads.mtls.refusals import Refusals

PLAIN = SockstreamError("tls-not-tls", "It does not speak TLS", "Find out")
OLD = SockstreamError("tls-expired", "It has expired", "Renew it")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("WARNING", "sockstream.receiver")
    return caplog


def test_the_first_is_said_in_full(said: pytest.LogCaptureFixture) -> None:
    Refusals().note("10.0.0.1", "10.0.0.1:4000", PLAIN, 0.0)
    assert said.messages == ["Refused 10.0.0.1:4000: It does not speak TLS. Find out."]


def test_repeats_within_a_minute_are_said_as_a_number(said: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for second in range(60):
        refusals.note("10.0.0.1", f"10.0.0.1:{4000 + second}", PLAIN, float(second))
    refusals.flush(59.0)
    assert len(said.messages) == 1
    refusals.flush(60.0)
    assert said.messages[1:] == ["Refused 10.0.0.1 59 times more: tls-not-tls"]


def test_after_a_minute_it_is_said_in_full_again(said: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for second in (0.0, 10.0, 61.0):
        refusals.note("10.0.0.1", "10.0.0.1:1", PLAIN, second)
    assert [message.split(":")[0] for message in said.messages] == [
        "Refused 10.0.0.1",
        "Refused 10.0.0.1 1 times more",
        "Refused 10.0.0.1",
    ]


def test_other_addresses_and_reasons_are_said_at_once(said: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    refusals.note("10.0.0.1", "10.0.0.1:1", PLAIN, 0.0)
    refusals.note("10.0.0.1", "10.0.0.1:2", OLD, 0.0)
    refusals.note("10.0.0.2", "10.0.0.2:3", PLAIN, 0.0)
    assert len(said.messages) == 3


def test_many_addresses_take_no_more_than_their_share_of_memory(
    said: pytest.LogCaptureFixture,
) -> None:
    refusals = Refusals()
    for number in range(3000):
        host = f"10.{number >> 8}.{number & 255}.1"
        for _ in range(2):
            refusals.note(host, f"{host}:1", PLAIN, 0.0)
    refusals.flush(100.0)
    in_full = [message for message in said.messages if "times more" not in message]
    assert len(in_full) == 3000
    assert len(said.messages) == 6000, "what is forgotten early is counted all the same"
    assert len(refusals._hosts) == 0


def test_the_same_code_for_another_reason_is_said_at_once(
    said: pytest.LogCaptureFixture,
) -> None:
    """Two sites behind one address, for instance, that are both revoked."""
    refusals = Refusals()
    for name in ("one", "two"):
        error = SockstreamError("auth-revoked", f"The certificate of {name!r} was revoked", "Renew")
        refusals.note("10.0.0.1", "10.0.0.1:4000", error, 0.0)
    assert len(said.messages) == 2


@pytest.mark.parametrize("codes", [1, 7, 1_000])
def test_words_that_differ_each_time_are_no_way_to_fill_a_disk(
    said: pytest.LogCaptureFixture, codes: int
) -> None:
    """They are a peer's own, and so are the codes."""
    refusals = Refusals()
    for number in range(5_000):
        error = SockstreamError(f"x{number % codes}", f"{number} other words")
        refusals.note("10.0.0.1", f"10.0.0.1:{number}", error, number / 100)
    refusals.note("10.0.0.2", "10.0.0.2:1", PLAIN, 51.0)
    refusals.flush(1_000.0)
    of_it = [message for message in said.messages if "10.0.0.1" in message]
    assert len(of_it) <= 9
    assert len(of_it[-1]) < 200
    in_full = sum("times more" not in message for message in of_it)
    assert f"10.0.0.1 {5_000 - in_full} times more: x" in of_it[-1]
    assert "Refused 10.0.0.2:1: It does not speak TLS. Find out." in said.messages


def test_the_port_of_the_peer_makes_no_other_reason(said: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for port in (4000, 4001):
        peer = f"10.0.0.1:{port}"
        refusals.note("10.0.0.1", peer, SockstreamError("timeout", f"{peer} is slow"), 0.0)
    assert len(said.messages) == 1
