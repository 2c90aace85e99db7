"""Both ends back to back: whatever happens to the bytes, central holds what the site wrote."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from .pair import Durable, Pair

SIZES = st.integers(1, 700)
GROUPS = st.lists(st.integers(1, 5), min_size=1, max_size=4)
TEXTS = st.sampled_from(["", "a few words", "many words " * 30, "\u00e9\U0001f600" * 8])

# What a tampered connection may show; anything else would be a bug of ours.
TAMPERED = {"gap", "bad-state", "connection-lost", "silence", "handshake-timeout"}


class AnyConnection(RuleBasedStateMachine):
    """Writes, and bytes that arrive in pieces, twice, or never."""

    @initialize(codecs=st.sampled_from([(), ("zlib",)]), resumes=st.booleans())
    def start(self, codecs: tuple[str, ...], resumes: bool) -> None:
        self.pair = Pair(codecs, resumes=resumes)
        self.restorable: list[Durable] = []

    @rule(groups=GROUPS, text=TEXTS, open_=st.booleans())
    def write(self, groups: list[int], text: str, open_: bool) -> None:
        self.pair.site.write(groups, text, open_=open_)
        if self.pair.connected:
            self.pair.fill()

    @precondition(lambda self: self.pair.connected)
    @rule(size=SIZES)
    def some_bytes_arrive_at_central(self, size: int) -> None:
        self.pair.move_up(size)

    @precondition(lambda self: self.pair.connected)
    @rule(size=SIZES)
    def some_bytes_arrive_at_the_site(self, size: int) -> None:
        self.pair.move_down(size)

    @precondition(lambda self: self.pair.connected)
    @rule()
    def apply(self) -> None:
        self.pair.apply()

    @precondition(lambda self: self.pair.connected)
    @rule()
    def settle(self) -> None:
        self.pair.settle()

    @precondition(lambda self: self.pair.connected)
    @rule()
    def die_between_commit_and_ack(self) -> None:
        self.pair.apply(ack=False)
        self.pair.cut()

    @precondition(lambda self: self.pair.connected)
    @rule(noticed=st.booleans())
    def cut(self, noticed: bool) -> None:
        self.pair.cut(noticed=noticed)

    @rule()
    def connect(self) -> None:
        self.pair.connect()

    @precondition(lambda self: self.pair.connected)
    @rule(up=st.booleans(), index=st.integers(0, 9), repeat=st.booleans())
    def tamper(self, up: bool, index: int, repeat: bool) -> None:
        (self.pair.up if up else self.pair.down).tamper(index, repeat=repeat)

    @rule(seconds=st.sampled_from([0.0, 1.0, 9.0, 10.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.pair.tick(seconds)

    @rule()
    def back_up_central(self) -> None:
        self.restorable.append(self.pair.central.durable)

    @precondition(lambda self: self.restorable)
    @rule(data=st.data())
    def restore_central(self, data: Any) -> None:
        self.pair.cut(noticed=False)
        self.pair.central.durable = data.draw(st.sampled_from(self.restorable))

    @invariant()
    def central_holds_a_beginning_of_what_was_written(self) -> None:
        if hasattr(self, "pair"):
            applied = self.pair.central.durable.applied
            assert list(applied) == self.pair.site.written[: len(applied)]

    @invariant()
    def only_whole_groups_are_applied(self) -> None:
        if hasattr(self, "pair") and self.pair.central.durable.position:
            position = self.pair.central.durable.position
            assert position.seq == len(self.pair.central.durable.applied)
            assert self.pair.site.digest_at(position.seq) == position.digest

    @invariant()
    def nothing_is_acked_that_is_not_applied(self) -> None:
        if hasattr(self, "pair") and not self.restorable:
            assert self.pair.site.acked <= len(self.pair.central.durable.applied)

    @invariant()
    def no_end_finds_fault_with_the_other_but_for_the_connection(self) -> None:
        if hasattr(self, "pair"):
            errors = self.pair.site.errors + self.pair.central.errors
            assert {error.code for error in errors} <= TAMPERED, errors

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.heal()
            applied = self.pair.central.durable.applied
            assert list(applied) == self.pair.site.written[: self.pair.complete]
            assert len(applied) == self.pair.complete


AnyConnection.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyConnection = AnyConnection.TestCase


def test_what_is_written_arrives() -> None:
    pair = Pair()
    pair.site.write([2, 3], "What?")
    pair.settle()
    assert pair.central.durable.applied == (1, 2, 3, 4, 5)
    assert pair.site.acked == 5
    assert not pair.site.errors + pair.central.errors


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_do_not_depend_on_how_the_bytes_are_cut(size: int) -> None:
    pair = Pair()
    for _ in range(5):
        pair.site.write([1, 2], "many words " * 20)
    pair.fill()
    while any([pair.move_up(size), pair.move_down(size), pair.apply()]):
        pass
    assert pair.site.acked == 15
    assert pair.central.durable.applied == tuple(range(1, 16))


def test_a_lost_welcome_is_answered_with_the_same_session() -> None:
    pair = Pair()
    pair.move_up()
    assert pair.central.durable.session == 1
    pair.connect()
    pair.settle()
    assert (pair.central.durable.session, pair.site.last_session) == (1, 1)
    pair.connect()
    pair.settle()
    assert (pair.central.durable.session, pair.site.last_session) == (2, 2)


def test_a_lost_confirm_is_answered_with_the_same_session() -> None:
    pair = Pair()
    pair.move_up()
    pair.move_down()
    assert pair.site.last_session == 1
    pair.connect()
    pair.settle()
    assert pair.central.durable.session == 1


def test_a_lost_ack_changes_nothing() -> None:
    pair = Pair()
    pair.site.write([2], "What?")
    pair.fill()
    pair.move_up()
    pair.move_down()
    pair.move_up()
    pair.apply(ack=False)
    pair.connect()
    pair.settle()
    assert pair.central.durable.applied == (1, 2)
    assert pair.site.session is not None
    assert pair.site.session.acked == 2


def test_a_restored_central_gets_what_it_lost_with_a_warning() -> None:
    pair = Pair()
    pair.site.write([2], "What?")
    pair.settle()
    early = pair.central.durable
    pair.site.write([3], "Who?")
    pair.settle()
    assert pair.site.acked == 5
    pair.central.durable = early
    pair.connect()
    pair.settle()
    assert pair.central.durable.applied == (1, 2, 3, 4, 5)
    assert pair.central.warnings == ["receiver-rewound"]


def test_a_group_larger_than_the_window_flows_through() -> None:
    pair = Pair(())
    for _ in range(20):
        pair.site.write([1], "many words " * 30, open_=True)
    pair.site.write([1], "the end")
    pair.settle()
    assert pair.central.durable.applied == tuple(range(1, 22))
    assert pair.site.acked == 21


def test_a_batch_larger_than_the_window_goes_alone() -> None:
    pair = Pair(())
    pair.site.write([1], "x" * 5000)
    pair.site.write([1], "y" * 5000)
    pair.settle()
    assert pair.site.acked == 2
    assert pair.central.largest > 5000


@pytest.mark.parametrize("resumes", [True, False])
def test_a_long_group_gets_through_a_line_that_breaks_after_each_batch(resumes: bool) -> None:
    """A site that heeds what is staged sends nothing twice; one that does not is skipped."""
    pair = Pair((), resumes=resumes)
    for _ in range(3):
        pair.site.write([5], "a few words", open_=True)
        pair.settle()
        pair.cut()
        pair.connect()
        pair.settle()
    assert (pair.central.sent_again == 0) == resumes
    staged = pair.central.durable.staged_end
    assert staged is not None
    assert (staged.seq, pair.site.acked, pair.central.durable.applied) == (15, 0, ())
    pair.site.write([1], "the end")
    pair.settle()
    assert pair.site.acked == 16
    assert pair.central.durable.applied == tuple(pair.site.written)
