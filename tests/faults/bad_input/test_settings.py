"""Settings and options that are wrong: the command does not start, and names them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ends import End
from tests.faults.bad_input.ends import CENTRAL, Receiver, World, refusal_of

WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "unknown model",
        {"MODELS": ["polls", "zoo.sloth"]},
        "SOCKSTREAM['MODELS'] names 'zoo.sloth', which is no installed app or model."
        " Correct the label, or add its app to INSTALLED_APPS.",
    ),
    (
        "unknown app",
        {"MODELS": ["pols"]},
        "SOCKSTREAM['MODELS'] names 'pols', which is no installed app or model."
        " Correct the label, or add its app to INSTALLED_APPS.",
    ),
    (
        "excluded model that is unknown",
        {"EXCLUDE": ["zoo.sloth"]},
        "SOCKSTREAM['EXCLUDE'] names 'zoo.sloth', which is no installed app or model."
        " Correct the label, or add its app to INSTALLED_APPS.",
    ),
    (
        "unknown key",
        {"MODEL": ["polls"]},
        "SOCKSTREAM has an unknown key 'MODEL'. Did you mean 'MODELS'?",
    ),
    (
        "a key like no other",
        {"XYZZY": 1},
        "SOCKSTREAM has an unknown key 'XYZZY'. See docs/settings.md for the known ones.",
    ),
    (
        "a string for a list",
        {"MODELS": "polls"},
        "SOCKSTREAM['MODELS'] is 'polls'. Give it a list of app labels and model labels,"
        ' such as ["polls", "shop.order"].',
    ),
    (
        "a number below zero",
        {"WINDOW": -1},
        "SOCKSTREAM['WINDOW'] is -1. Give it a number above zero.",
    ),
]


def ends(world: World, *extra: str, **settings: Any) -> list[End]:
    """Both ends with something wrong."""
    return [
        world.sender(*extra, settings=settings, once=False),
        Receiver(CENTRAL, world.certificates, *extra, settings=settings),
    ]


@pytest.mark.parametrize(
    ("wrong", "line"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_wrong_settings(world: World, wrong: dict[str, Any], line: str) -> None:
    for end in ends(world, **wrong):
        assert refusal_of(end) == line


def test_no_models(world: World) -> None:
    sender, receiver = ends(world, MODELS=[])
    mend = 'Name app labels or models, such as "MODELS": ["polls"].'
    assert refusal_of(sender) == (
        f'SOCKSTREAM["MODELS"] names no model, so nothing is captured. {mend}'
    )
    assert refusal_of(receiver) == (
        f'SOCKSTREAM["MODELS"] names no model, so no site may write anything. {mend}'
    )


def test_a_shared_model_that_is_unknown(world: World) -> None:
    receiver = Receiver(CENTRAL, world.certificates, settings={"SHARED": ["zoo.sloth"]})
    assert refusal_of(receiver).startswith("SOCKSTREAM['SHARED'] names 'zoo.sloth', which is no")


def test_unknown_database(world: World) -> None:
    for end in ends(world, "--database", "nope"):
        said = refusal_of(end)
        assert said.startswith("--database nope: no such database. Use one of: central_")
