from __future__ import annotations

import re
from pathlib import Path

import sockstream
from sockstream.wire.errors import CODES, Class, WireError

LIBRARY = Path(sockstream.__file__).parent


def test_an_error_is_of_the_class_of_its_code() -> None:
    assert WireError("silence", "words").class_ is Class.RECONNECT
    assert WireError("epoch-unknown", "words").class_ is Class.PERSON


def test_a_class_that_is_given_wins() -> None:
    assert CODES["gap"] is Class.RECONNECT
    assert WireError("gap", "words", class_=Class.PERSON).class_ is Class.PERSON


def test_an_unknown_code_wants_a_person() -> None:
    assert WireError("from-the-future", "words").class_ is Class.PERSON


def test_it_reads_as_one_line() -> None:
    assert str(WireError("gap", "What happened", "What to do.")) == "What happened. What to do."
    assert str(WireError("gap", "What happened")) == "What happened."


def test_every_code_that_the_library_raises_is_listed() -> None:
    raised = re.compile(r'(?:WireError|Refusal)\(\s*"([a-z-]+)"')
    used = {code for path in LIBRARY.rglob("*.py") for code in raised.findall(path.read_text())}
    assert "bad-frame" in used
    assert used <= CODES.keys()
