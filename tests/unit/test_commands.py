"""What a command is: its options, and the one line of an error."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sockstream import commands
from sockstream.exceptions import ConfigError, SockstreamError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("localhost:9000", ("localhost", 9000)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:9000", ("::1", 9000)),
        (":9000", ("", 9000)),
        (" central.example.org:65535 ", ("central.example.org", 65535)),
    ],
)
def test_address(text: str, parts: tuple[str, int]) -> None:
    assert commands.host_and_port(text, "--bind") == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "localhost:",
        "localhost:http",
        "::1:9000",
        "[::1]",
        "a:65536",
        "a:-1",
        "a:b:1",
    ],
)
def test_address_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--to .*not an address. Write HOST:PORT"):
        commands.host_and_port(text, "--to")


def test_unknown_database_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"--database nope: no such database. Use one of: .*default"
    ):
        commands.database({"database": "nope"})


class Failing(commands.SockstreamCommand):
    def run(self, options: dict[str, object]) -> None:
        raise SockstreamError("code", "It broke", "Mend it")


def test_an_error_becomes_one_line() -> None:
    with pytest.raises(CommandError, match=r"^It broke. Mend it.$") as caught:
        call_command(Failing())
    assert caught.value.returncode == 1
