"""The errors that people see: a stable code, one sentence, and the mend."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_NAME = 200
"""The most characters of a model's label or a key in an error: what a column holds of them."""
_LONGEST_CODE = 50
_MOST_NAMED = 3
_LONGEST_WORDS = 4_000


def printable(text: str, most: int | None = None) -> str:
    """Text that every database stores, and every line of a log or terminal can show.

    Line ends, other control characters, marks of direction and lone surrogates become escapes;
    beyond `most` characters it is cut.
    """
    cut = text[:most]
    if not cut.isprintable():
        cut = "".join(char if char.isprintable() else _escaped(char) for char in cut)
    if most is None or len(text) <= most >= len(cut):
        return cut
    return f"{cut[: most - 1]}…"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def some_of(names: Sequence[str], what: str) -> str:
    """The name; of several, how many of `what` they are, and the first ones."""
    if len(names) == 1:
        return names[0]
    first = ", ".join(names[:_MOST_NAMED])
    return f"{len(names)} {what} ({first}{', ...' if len(names) > _MOST_NAMED else ''})"


class SockstreamError(Exception):
    """An error with a stable `code`, the `words` that say what happened, and the `mend`.

    All three are printable, whatever they were made of. `str()` is one line: the words, then the
    mend.
    """

    def __init__(self, code: str, words: str, mend: str = "") -> None:
        self.code = printable(code, _LONGEST_CODE)
        self.words = printable(words, _LONGEST_WORDS)
        self.mend = printable(mend, _LONGEST_WORDS)
        super().__init__(self.code, self.words, self.mend)

    def __str__(self) -> str:
        return _sentences(self.words, self.mend)


class ConfigError(SockstreamError):
    """A setting, an argument or a file that the operator has to mend."""

    def __init__(self, words: str, mend: str = "") -> None:
        super().__init__("config", words, mend)


class Refusal(SockstreamError):
    """Why records cannot be applied, found before the database was asked. `code` is the wire's."""


def _sentences(*parts: str) -> str:
    """One line of the parts that are not empty, each with the stop that it lacks."""
    stripped = (part.strip() for part in parts)
    return " ".join(
        part if part.endswith(("...", "…", "?", "!")) else part.rstrip(".") + "."
        for part in stripped
        if part
    )
