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
        sentences = (part.strip().rstrip(".") for part in (self.words, self.mend))
        return ". ".join(part for part in sentences if part) + "."


class ConfigError(SockstreamError):
    """A setting, an argument or a file that the operator has to mend."""

    def __init__(self, words: str, mend: str = "") -> None:
        super().__init__("config", words, mend)
