"""An error is one line of whole sentences, as a person reads it and on the wire."""

from __future__ import annotations

import pytest

from sockstream.exceptions import Refusal, SockstreamError, printable, some_of
from sockstream.wire.errors import WireError
from sockstream.wire.messages import Error, Refuse

ODD = "\n\r\x00\x07\x1b[31m\x7f\x85\u200f\u202e\u2028\u2066\ud800\U000e0041"


@pytest.mark.parametrize("char", ODD)
def test_odd_characters_become_escapes(char: str) -> None:
    shown = printable(f"a{char}b")
    assert shown.isprintable()
    assert shown.encode().isascii()
    assert shown[0] + shown[-1] == "ab"
    assert printable("Ünïcödé 東京 \u0627\u0644 😀") == "Ünïcödé 東京 \u0627\u0644 😀"


@pytest.mark.parametrize("char", ["a", "\n", "\u202e", "\U000e0041"])
def test_it_is_cut(char: str) -> None:
    for length in (1, 49, 50, 51, 1_000_000):
        shown = printable(char * length, 50)
        assert len(shown) <= 50
        assert shown.endswith("…") == (length > 50 or length * len(printable(char)) > 50)
    assert printable("a" * 1_000) == "a" * 1_000


def test_an_error_is_printable_whatever_it_is_made_of() -> None:
    """Labels and keys of records, and what a peer says of them: as lines, and in the database."""
    error = WireError(ODD, ODD * 10_000, ODD, model=ODD * 99, key=ODD * 99)
    for text, most in (
        (error.code, 50),
        (error.words, 4_000),
        (error.mend, 4_000),
        (error.model, 200),
        (error.key, 200),
    ):
        assert text.isprintable()
        assert len(text) <= most
    assert str(error).isprintable()
    assert str(Refusal("x", ODD)).isprintable()


@pytest.mark.parametrize("kind", [Error, Refuse])
def test_what_a_peer_tells_is_cut_too(kind: type[Error | Refuse]) -> None:
    said = kind(ODD * 100, ODD * 200, "m" * 4_000, 7, ODD * 100, "k" * 4_000, "person").error
    assert str(said).isprintable()
    assert len(str(said)) < 2_100
    assert (len(said.code), len(said.model), len(said.key)) == (50, 200, 200)


@pytest.mark.parametrize(
    ("words", "mend", "line"),
    [
        ("It broke", "Mend it", "It broke. Mend it."),
        ("It broke.", "Mend it.", "It broke. Mend it."),
        ("It broke", "", "It broke."),
        ("Not known", "Did you mean 'MODELS'?", "Not known. Did you mean 'MODELS'?"),
        ("Missing", "Run: x HOST...", "Missing. Run: x HOST..."),
    ],
)
def test_an_error_is_one_line(words: str, mend: str, line: str) -> None:
    assert str(SockstreamError("code", words, mend)) == line
    assert str(WireError("retry", words, mend)) == line


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "a"),
        (["a", "b", "c"], "3 models (a, b, c)"),
        (["a", "b", "c", "d"], "4 models (a, b, c, ...)"),
    ],
)
def test_many_names_are_counted(names: list[str], text: str) -> None:
    assert some_of(names, "models") == text
