"""The errors that people see: a stable code, one sentence, and the mend."""

from __future__ import annotations


class SockstreamError(Exception):
    """An error with a stable `code`, the `words` that say what happened, and the `mend`.

    `str()` is one line: the words, then the mend.
    """

    def __init__(self, code: str, words: str, mend: str = "") -> None:
        super().__init__(code, words, mend)
        self.code = code
        self.words = words
        self.mend = mend

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
        part if part.endswith(("...", "?", "!")) else part.rstrip(".") + "."
        for part in stripped
        if part
    )
