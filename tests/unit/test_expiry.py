"""Words about certificates that are going to expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sockstream.tls.expiry import DailyWarnings, warning

NOW = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)
MONTH = timedelta(days=30)


def words(left: timedelta, within: timedelta = MONTH) -> str:
    return warning("The certificate a.crt", "a", NOW + left, within, NOW)


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (timedelta(days=30), "expires in 30 days (on 2030-05-31 at 12:00 UTC)"),
        (timedelta(days=2), "expires in 2 days"),
        (timedelta(hours=47), "expires in 47 hours"),
        (timedelta(minutes=119), "expires in 119 minutes"),
        (timedelta(0), "has expired (on 2030-05-01 at 12:00 UTC)"),
        (timedelta(days=-400), "has expired (on 2029-03-27 at 12:00 UTC)"),
    ],
)
def test_what_is_said(left: timedelta, said: str) -> None:
    assert words(left).startswith(f"The certificate a.crt {said}")
    assert words(left).endswith(". Run where the authority is: sockstream certs renew a")


def test_nothing_is_said_before_it_is_time() -> None:
    assert words(timedelta(days=30, seconds=1)) == ""
    assert words(timedelta(days=2), within=timedelta(days=1)) == ""
    assert words(timedelta(seconds=1), within=timedelta(0)) == ""


def test_each_is_said_once_a_day() -> None:
    daily = DailyWarnings()
    assert [daily.is_due("a", NOW + timedelta(hours=hour)) for hour in (0, 1, 11)] == [True] + 2 * [
        False
    ]
    assert daily.is_due("b", NOW)
    assert daily.is_due("a", NOW + timedelta(hours=12))
    assert not daily.is_due("a", NOW + timedelta(hours=13))
