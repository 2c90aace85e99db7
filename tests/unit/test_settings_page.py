"""docs/settings.md names every setting, with the default that it has."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from sockstream.conf import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `([A-Z_]+)` \| (.+?) \| ", re.MULTILINE)


def documented() -> dict[str, str]:
    return dict(ROW.findall(PAGE.read_text()))


def shown(value: object) -> str:
    match value:
        case str():
            return f'`"{value}"`'
        case bool():
            return f"`{value}`"
        case tuple():
            return f"`{list(value)}`"
        case timedelta():
            return f"`timedelta(days={value.days})`"
        case int() if value >= 1 << 20:
            return f"{value >> 20} MiB"
        case _:
            return f"{value:,}"


def test_every_setting_is_documented_and_no_other() -> None:
    assert set(documented()) == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_the_default_is_the_real_one(name: str) -> None:
    assert documented()[name] == shown(getattr(Settings(), name))
