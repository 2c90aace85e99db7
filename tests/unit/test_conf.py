"""The SOCKSTREAM setting: declared once, typed, read at use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from sockstream.conf import Settings, settings
from sockstream.exceptions import ConfigError


def test_defaults_stand_for_what_is_not_given() -> None:
    with override_settings(SOCKSTREAM={"MODELS": ["polls"]}):
        assert settings() == Settings(MODELS=("polls",))


def test_it_is_read_at_use() -> None:
    with override_settings(SOCKSTREAM={"WINDOW": 1}):
        assert settings().WINDOW == 1
    with override_settings(SOCKSTREAM={"WINDOW": 2}):
        assert settings().WINDOW == 2


def test_a_missing_setting_is_named_with_what_to_write() -> None:
    with override_settings():
        del django_settings.SOCKSTREAM
        with pytest.raises(ConfigError, match=r"SOCKSTREAM is missing.*MODELS"):
            settings()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "must be a dict"),
        ({"MODEL": []}, "unknown key 'MODEL'. Did you mean 'MODELS'"),
        ({"SPEED": 9}, "unknown key 'SPEED'. See docs/settings.md"),
        ({"MODELS": "polls"}, "a list of app labels"),
        ({"MODELS": [1]}, "a list of app labels"),
        ({"WINDOW": "big"}, "a value of type int"),
        ({"WINDOW": True}, "a value of type int"),
        ({"WINDOW": 0}, "a number above zero"),
        ({"HEARTBEAT": -1.5}, "a number above zero"),
        ({"HEARTBEAT": None}, "a value of type float"),
        ({"COMPRESS": 1}, "a value of type bool"),
        ({"RETENTION": 7}, "a value of type timedelta"),
        ({"RETENTION": timedelta(days=-1)}, "not below zero"),
        ({"CAPTURE": "magic"}, 'Use "triggers" or "signals"'),
        ({"ON_ERROR": "ignore"}, 'Use "stop" or "park"'),
        ({"PARKED_MAX": 0}, "a number above zero"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_mend(given: Any, words: str) -> None:
    with override_settings(SOCKSTREAM=given), pytest.raises(ConfigError) as caught:
        settings()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_seconds_do_for_a_time() -> None:
    with override_settings(SOCKSTREAM={"HEARTBEAT": 5}):
        assert settings().HEARTBEAT == 5
