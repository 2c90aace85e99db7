"""A receiver for each central, started once; a sender for each test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.conf import settings
from django.test import override_settings

from tests.conftest import PAIRS
from tests.databases import Databases, Pair
from tests.ends import Certificates, ReceiverProcess, certificates  # noqa: F401


@pytest.fixture(autouse=True)
def models_of_both_ends(request: pytest.FixtureRequest) -> Iterator[None]:
    """What only PostgreSQL can hold is not captured for a central of another kind."""
    found = request.getfixturevalue("pair") if "pair" in request.fixturenames else None
    pair = PAIRS[found] if isinstance(found, str) else found
    if pair is None or pair.central == "central_pg":
        yield
        return
    models = [label for label in settings.SOCKSTREAM["MODELS"] if label != "zoo_pg"]
    with override_settings(SOCKSTREAM={**settings.SOCKSTREAM, "MODELS": models}):
        yield


@pytest.fixture(scope="module")
def receivers(
    databases: Databases,
    certificates: Certificates,  # noqa: F811
) -> Iterator[Callable[[str], ReceiverProcess]]:
    """Gives the running receiver of the alias of a central's database."""
    started: dict[str, ReceiverProcess] = {}
    with ExitStack() as stack:

        def start(alias: str) -> ReceiverProcess:
            if alias not in started:
                databases.clean(alias)
                process = ReceiverProcess(alias, certificates)
                started[alias] = stack.enter_context(process)
            return started[alias]

        yield start


@pytest.fixture
def receiver(
    pair: Pair, receivers: Callable[[str], ReceiverProcess], request: pytest.FixtureRequest
) -> Iterator[ReceiverProcess]:
    """Central's end of `pair`, listening. What it printed is shown if the test fails."""
    process = receivers(pair.central)
    heard = len(process.lines)
    yield process
    print(f"--- {process.command} ---", *process.lines[heard:], sep="\n")  # noqa: T201
    assert process.running
