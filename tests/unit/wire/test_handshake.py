from __future__ import annotations

from typing import Any

import pytest

from sockstream.wire.digest import ZERO, Position
from sockstream.wire.errors import Class, WireError
from sockstream.wire.handshake import Judgement, judge_hello, judge_welcome

from .samples import DIGEST, EPOCH, hello, welcome

OTHER = bytes(16)
AT_SEVEN = Position(EPOCH, 7, DIGEST)


def judged(known: Position | None = AT_SEVEN, **changes: Any) -> Judgement:
    says = {"highest_seq": 9, "acked_seq": 7, "last_session": 3} | changes
    return judge_hello(hello(**says), known, session=3)


def refused(known: Position | None = AT_SEVEN, **changes: Any) -> WireError:
    with pytest.raises(WireError) as caught:
        judged(known, **changes)
    return caught.value


def test_a_new_site_begins_at_one() -> None:
    found = judge_hello(hello(), None)
    assert (found.session, found.offset, found.digest, found.warning) == (1, 0, ZERO, None)


def test_a_known_site_goes_on_at_the_offset() -> None:
    found = judged()
    assert (found.session, found.offset, found.digest, found.warning) == (4, 7, DIGEST, None)


@pytest.mark.parametrize("lowest", [1, 7, 8])
def test_records_that_central_has_need_not_be_held(lowest: int) -> None:
    assert judged(lowest_seq=lowest).offset == 7


def test_an_oplog_that_was_pruned_to_its_end_goes_on() -> None:
    assert judged(lowest_seq=8, highest_seq=7, digest=DIGEST).offset == 7


def test_another_epoch_is_never_taken_over() -> None:
    error = refused(epoch=OTHER)
    assert (error.code, error.class_) == ("epoch-unknown", Class.PERSON)
    assert refused(epoch=OTHER, parent_epoch=OTHER).code == "epoch-unknown"


def test_a_fork_of_the_known_epoch_begins_at_its_first_record() -> None:
    found = judged(epoch=OTHER, parent_epoch=EPOCH, lowest_seq=1, acked_seq=0)
    assert (found.offset, found.digest, found.warning) == (0, ZERO, None)
    assert refused(epoch=OTHER, parent_epoch=EPOCH, lowest_seq=2).code == "unknown-source"


def test_a_fork_of_an_epoch_of_which_nothing_came() -> None:
    says = hello(epoch=OTHER, parent_epoch=b"p" * 16, lowest_seq=1, acked_seq=0)
    for pending in ([b"p" * 16], [b"q" * 16, b"p" * 16]):
        assert judge_hello(says, AT_SEVEN, pending=pending).offset == 0
    for pending in ([], [b"q" * 16]):
        with pytest.raises(WireError) as caught:
            judge_hello(says, AT_SEVEN, pending=pending)
        assert caught.value.code == "epoch-unknown"


def test_no_site_has_as_many_records_as_a_database_can_count() -> None:
    for number in ((1 << 53) + 1, (1 << 63) - 1):
        assert refused(highest_seq=number).code == "bad-message"
        assert refused(None, lowest_seq=number + 1, highest_seq=number).code == "bad-message"
    assert judged(highest_seq=1 << 53).offset == 7


@pytest.mark.parametrize(
    ("session", "last", "gives"),
    [
        (0, (1 << 52) - 1, 1 << 52),
        (0, 1 << 52, None),
        (3, (1 << 32) + 3, (1 << 32) + 4),
        (3, (1 << 32) + 4, None),
        (1 << 62, 5, 6),
        (1 << 52, 0, 1),
    ],
)
def test_session_numbers_have_an_end(session: int, last: int, gives: int | None) -> None:
    says = hello(last_session=last)
    if gives is not None:
        assert judge_hello(says, None, session).session == gives
        return
    with pytest.raises(WireError) as caught:
        judge_hello(says, None, session)
    assert caught.value.code == "bad-message"


def test_a_site_that_ends_before_the_offset_was_restored() -> None:
    error = refused(highest_seq=6, acked_seq=6)
    assert (error.code, error.seq) == ("sender-rewound", 7)


def test_a_site_that_wrote_on_after_a_restore_has_another_history() -> None:
    assert refused(highest_seq=7, digest=OTHER).code == "history-diverged"
    assert judged(highest_seq=7, digest=DIGEST).offset == 7


def test_a_restored_central_gets_what_it_lost_with_a_warning() -> None:
    found = judged(acked_seq=9)
    assert found.offset == 7
    assert found.warning is not None
    assert found.warning.code == "receiver-rewound"


def test_a_restored_central_stops_if_what_it_lost_is_gone() -> None:
    error = refused(acked_seq=9, lowest_seq=9)
    assert (error.code, error.class_, error.seq) == ("gap", Class.PERSON, 8)


def test_a_central_without_the_source_takes_only_a_whole_history() -> None:
    found = judged(None, acked_seq=9)
    assert found.offset == 0
    assert found.warning is not None
    assert refused(None, lowest_seq=2).code == "unknown-source"
    assert refused(None, lowest_seq=10).code == "unknown-source"


@pytest.mark.parametrize(
    "changes", [{"lowest_seq": 11}, {"acked_seq": 10}, {"lowest_seq": 3, "highest_seq": 1}]
)
def test_numbers_that_contradict_each_other_are_refused(changes: dict[str, Any]) -> None:
    assert refused(**changes).code == "bad-message"


@pytest.mark.parametrize(
    ("last_session", "session", "confirmed", "expected"),
    [
        (0, 0, True, 1),
        (3, 3, True, 4),
        (2, 3, True, 4),  # the site never stored 3, though it confirmed it: it was restored
        (2, 3, False, 3),  # the welcome was lost
        (3, 3, False, 3),  # the confirm was lost
        (5, 3, True, 6),  # central was restored
        (5, 3, False, 6),
        (0, 0, False, 1),
    ],
)
def test_the_session_number(
    last_session: int, session: int, confirmed: bool, expected: int
) -> None:
    said = hello(last_session=last_session)
    assert judge_hello(said, None, session, confirmed).session == expected


@pytest.mark.parametrize(
    ("site", "central", "expected"),
    [((1, 1), (1, 1), 1), ((1, 2), (1, 1), 1), ((1, 3), (2, 4), 3), ((2, 2), (1, 3), 2)],
)
def test_the_highest_common_version_is_chosen(
    site: tuple[int, int], central: tuple[int, int], expected: int
) -> None:
    said = hello(protocol_min=site[0], protocol_max=site[1])
    assert judge_hello(said, None, protocols=central).protocol == expected


@pytest.mark.parametrize(
    ("site", "central"), [((2, 3), (1, 1)), ((1, 1), (2, 3)), ((3, 2), (1, 9))]
)
def test_without_a_common_version_nothing_goes(
    site: tuple[int, int], central: tuple[int, int]
) -> None:
    said = hello(protocol_min=site[0], protocol_max=site[1], epoch=OTHER)
    with pytest.raises(WireError) as caught:
        judge_hello(said, AT_SEVEN, protocols=central)
    assert caught.value.code == "version-unsupported"


@pytest.mark.parametrize(
    ("site", "central", "expected"),
    [(b"a", b"a", "same"), (b"a", b"b", "differs"), (b"", b"b", "unknown"), (b"a", b"", "unknown")],
)
def test_the_schema_verdict(site: bytes, central: bytes, expected: str) -> None:
    assert judge_hello(hello(schema=site), None, schema=central).schema_verdict == expected


def test_the_site_goes_on_after_an_equal_digest() -> None:
    found = judge_welcome(welcome(offset=7, digest=DIGEST), DIGEST, 1, 9, acked=7)
    assert (found.next_seq, found.warning) == (8, None)


def test_the_site_goes_on_with_an_empty_oplog() -> None:
    assert judge_welcome(welcome(), ZERO, 1, 0).next_seq == 1
    assert judge_welcome(welcome(offset=7, digest=DIGEST), DIGEST, 8, 7).next_seq == 8


@pytest.mark.parametrize(
    ("digest", "first", "last", "code"),
    [
        (OTHER, 1, 9, "history-diverged"),
        (None, 1, 9, "history-diverged"),
        (None, 1, 6, "sender-rewound"),
        (None, 9, 12, "gap"),
    ],
)
def test_the_site_finds_what_central_cannot_see(
    digest: bytes | None, first: int, last: int, code: str
) -> None:
    with pytest.raises(WireError) as caught:
        judge_welcome(welcome(offset=7, digest=DIGEST), digest, first, last)
    assert (caught.value.code, caught.value.class_) == (code, Class.PERSON)


def test_the_site_warns_of_a_restored_central() -> None:
    found = judge_welcome(welcome(offset=7, digest=DIGEST), DIGEST, 1, 9, acked=8)
    assert found.next_seq == 8
    assert found.warning is not None
    assert found.warning.code == "receiver-rewound"


def test_the_site_wants_a_version_that_it_speaks() -> None:
    with pytest.raises(WireError) as caught:
        judge_welcome(welcome(protocol=2), ZERO, 1, 0)
    assert caught.value.code == "version-unsupported"


def test_every_mend_says_what_to_do() -> None:
    for error in (
        refused(epoch=OTHER),
        refused(highest_seq=6, acked_seq=6),
        refused(None, lowest_seq=2),
    ):
        assert error.mend


@pytest.mark.parametrize(
    ("ours", "last", "expected"),
    [
        (OTHER, 9, (10, OTHER)),
        (DIGEST, 9, (8, DIGEST)),
        (None, 9, (8, DIGEST)),
        (OTHER, 8, (8, DIGEST)),
    ],
    ids=["equal", "another history", "unknown", "not held"],
)
def test_a_site_resumes_after_what_is_staged_if_that_is_its_own(
    ours: bytes | None, last: int, expected: tuple[int, bytes]
) -> None:
    said = welcome(offset=7, digest=DIGEST, staged_seq=9, staged_digest=OTHER)
    found = judge_welcome(said, DIGEST, 1, last, digest_at_staged=ours)
    assert (found.next_seq, found.digest) == expected
