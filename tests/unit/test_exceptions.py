"""An error is one line of whole sentences, as a person reads it and on the wire."""

from __future__ import annotations

import pytest

from sockstream.exceptions import SockstreamError
from sockstream.wire.errors import WireError


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
