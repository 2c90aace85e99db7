from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args

import msgpack  # type: ignore[import-untyped]
import pytest

from sockstream.wire import messages
from sockstream.wire.errors import CODES, Class, WireError
from sockstream.wire.frames import FrameReader
from sockstream.wire.messages import (
    Bye,
    Error,
    Message,
    Ping,
    Pong,
    Progress,
    Records,
    Refuse,
    Welcome,
    pack,
    unpack,
)
from sockstream.wire.records import Batch, Segment, segments

from .samples import DIGEST, MESSAGES, batch, hello, welcome


def body(message: Message) -> bytes:
    [found] = FrameReader(1 << 20).feed(pack(message))
    return found


def elements(message: Message) -> list[Any]:
    found: list[Any] = msgpack.unpackb(body(message))
    return found


def plain(message: Message) -> Message:
    """The message with its records as they were before compression."""
    if isinstance(message, Records):
        return Records(replace(message.batch, data=message.batch.raw(), codec=""), message.codec)
    return message


def refused(values: object) -> str:
    with pytest.raises(WireError) as caught:
        unpack(msgpack.packb(values))
    return caught.value.code


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_out_as_it_was(message: Message) -> None:
    assert plain(unpack(body(message))) == message


def test_there_is_a_sample_of_every_message() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_unknown_trailing_elements_are_ignored(message: Message) -> None:
    later = [*elements(message), "new", [1, {"a": None}], 7]
    assert plain(unpack(msgpack.packb(later))) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_no_element_may_miss(message: Message) -> None:
    values = elements(message)
    for length in range(1, len(values) - messages._APPENDED.get(type(message), 0)):
        assert refused(values[:length]) == "bad-message"


def test_an_older_central_has_staged_nothing() -> None:
    values = elements(welcome(offset=7, staged_seq=9, staged_digest=DIGEST))
    assert unpack(msgpack.packb(values[:-2])) == welcome(offset=7)


def test_an_older_central_says_nothing_of_its_database() -> None:
    assert unpack(msgpack.packb([7, 500, 499])) == Progress(500, 499)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("wrong", [None, {}, -1, 1 << 63, [1], "\U0001f600" * 5000, b"x" * 65])
def test_an_element_of_another_type_or_size_is_refused(message: Message, wrong: object) -> None:
    values = elements(message)
    for place in range(1, len(values)):
        if wrong == b"x" * 65 and isinstance(values[place], bytes) and len(values[place]) != 16:
            continue  # the data of a batch, which may be anything
        changed = [*values[:place], wrong, *values[place + 1 :]]
        assert refused(changed) in {"bad-message", "bad-batch"}


@pytest.mark.parametrize(
    "found", [None, 7, "text", {}, [], [None], ["hello"], [True], [0], [12], [-1], [[1]]]
)
def test_what_is_no_message_is_refused(found: object) -> None:
    assert refused(found) == "bad-message"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 1e10, True])
def test_times_are_sane_numbers(number: object) -> None:
    assert refused([10, "done", 1, number]) == "bad-message"
    assert refused([*elements(welcome())[:10], number, "same"]) == "bad-message"


@pytest.mark.parametrize("heartbeat", [0, 0.001, 3601, float("inf")])
def test_a_heartbeat_is_neither_none_nor_an_eternity(heartbeat: float) -> None:
    values = elements(welcome())
    values[9] = heartbeat
    assert refused(values) == "bad-message"


def test_whole_seconds_may_come_as_integers() -> None:
    assert unpack(msgpack.packb([10, "done", 1, 3])) == Bye("done", 1, 3.0)


def test_lists_are_bounded() -> None:
    values = elements(hello())
    values[4] = ["feature"] * 101
    assert refused(values) == "bad-message"


def test_what_is_packed_is_checked_too() -> None:
    with pytest.raises(WireError):
        pack(Ping(-1))
    with pytest.raises(WireError):
        pack(replace(welcome(), digest=b"short"))


def test_a_batch_is_compressed_if_that_pays() -> None:
    large, small = batch(1, (50,)), batch(1, (1,))
    assert len(pack(Records(large, "zlib"))) < len(pack(Records(large)))
    assert elements(Records(small, "zlib"))[7] == ""
    assert Records(large).raw_length == len(large.data)


def test_a_bomb_in_a_batch_is_refused() -> None:
    values = elements(Records(batch(1, (50,)), "zlib"))
    values[2] = [[50, values[8] - 1]]
    values[8] -= 1
    bomb = unpack(msgpack.packb(values))
    assert isinstance(bomb, Records)
    with pytest.raises(WireError) as caught:
        list(segments(bomb.batch))
    assert caught.value.code == "decompress-limit"


def test_what_came_compressed_is_packed_as_it_came() -> None:
    came = body(Records(batch(1, (50,)), "zlib"))
    again = unpack(came)
    assert isinstance(again, Records)
    assert again.batch.size == batch(1, (50,)).size
    assert again.batch.codec == "zlib"
    assert body(again) == came


@pytest.mark.parametrize("segments", [[[(1 << 18) + 1, 9]], [[1 << 17, 4], [1 << 17, 4], [1, 1]]])
def test_the_records_of_a_batch_are_bounded(segments: list[list[int]]) -> None:
    """Nothing is decompressed to find that out, nor does it help to have many segments."""
    values = elements(Records(batch(1, (50,)), "zlib"))
    values[2], values[8] = segments, sum(size for _, size in segments)
    assert refused(values) == "bad-batch"


@pytest.mark.parametrize("kind", [Ping, Pong])
def test_a_ping_or_pong_has_a_short_tail(kind: type[Ping | Pong]) -> None:
    """Later versions may append something, but not whatever a peer likes."""
    for size in (0, 50):
        assert unpack(msgpack.packb([*elements(kind(7)), b"x" * size])) == kind(7)
    for tail in (b"x" * 70, [0] * 70, {str(n): n for n in range(20)}):
        assert refused([*elements(kind(7)), tail]) == "bad-message"


def test_a_batch_must_not_claim_more_than_a_frame() -> None:
    values = elements(Records(batch()))
    values[2], values[8] = [[1, 17 << 20]], 17 << 20
    assert refused(values) == "decompress-limit"


@pytest.mark.parametrize(
    "segments", [[], [[1, 0]], [[0, 1]], [[1]], [1], [[1, 1]], [[1, 1]] * 5000, [["a", "b"]]]
)
def test_segments_are_pairs_that_add_up(segments: object) -> None:
    values = elements(Records(batch()))
    values[2] = segments
    assert refused(values) in {"bad-message", "bad-batch", "bad-frame"}


def test_later_elements_of_a_segment_are_ignored() -> None:
    values = elements(Records(batch()))
    values[2] = [[*values[2][0], "later"]]
    assert unpack(msgpack.packb(values)) == Records(batch())


@pytest.mark.parametrize("kind", [Refuse, Error])
def test_an_error_travels_with_its_class(kind: type[Refuse | Error]) -> None:
    sent = WireError("gap", "Words", "Mend", 7, model="a.b", key="k", class_=Class.PERSON)
    found = unpack(body(kind.of(sent)))
    assert isinstance(found, kind)
    error = found.error
    assert (error.code, error.words, error.mend, error.seq) == ("gap", "Words", "Mend", 7)
    assert (error.model, error.key, error.class_) == ("a.b", "k", Class.PERSON)


def test_an_error_of_an_unknown_class_means_connect_again() -> None:
    assert Error("new-code", "", "", 0, class_="new-class").error.class_ is Class.RECONNECT
    assert Error("new-code", "", "", 0, class_="person").error.class_ is Class.PERSON


def test_long_words_are_cut_and_never_break_the_message() -> None:
    error = WireError("record-refused", "x" * 1_000_000, "\ud800", key="k" * 10_000)
    found = unpack(body(Refuse.of(error)))
    assert isinstance(found, Refuse)
    assert found.words.endswith("…")
    assert len(body(Refuse.of(error))) < 64 << 10


def test_every_code_fits() -> None:
    for code in CODES:
        assert isinstance(unpack(body(Error.of(WireError(code, "words")))), Error)


def test_every_element_is_declared_with_its_check() -> None:
    for kind in get_args(Message):
        expected = 10 if kind is Records else len(fields(kind))
        assert len(messages._CHECKS[kind]) == expected


def test_a_welcome_holds_seconds_as_floats() -> None:
    found = unpack(body(replace(welcome(), heartbeat=5)))
    assert isinstance(found, Welcome)
    assert isinstance(found.heartbeat, float)


def test_a_batch_of_many_groups_fits() -> None:
    part = batch(1, (1,)).data
    count = 4096
    many = Batch(1, (Segment(1, len(part)),) * count, False, b"\x90", part * count, DIGEST, DIGEST)
    assert unpack(pack(Records(many))[4:]) == Records(many)
