"""What has to hold whatever happens: while it happens, and when all of it is over."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from django.db import OperationalError, connections
from django.db.models import Count, Sum

from demo.compare import compare
from polls.models import Question
from sockstream.receiver.models import Offset
from sockstream.sender.models import Stream
from tests.databases import Pair
from tests.ends import End, position, shared_models
from tests.faults import audit
from tests.faults.load import ACCOUNTS, BALANCE, Writer
from tests.zoo.models import Required

LOOK_EVERY = 0.01
LOOKED_AT = 500
"""How many of the newest questions are looked at each time."""


class Reader(threading.Thread):
    """Looks at both ends all the time; `found` is what it may not see.

    That is half of a site's transaction at central, rows without their offset, and an ack of what
    central does not have.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__(daemon=True)
        self.pair = pair
        self.alias = pair.central
        self.looks = 0
        self.found: list[str] = []
        self._ended = threading.Event()
        self._looked_to_the_end = False

    def run(self) -> None:
        try:
            while not self._ended.wait(LOOK_EVERY):
                self._look()
            self._looked_to_the_end = True
        finally:
            for alias in (self.pair.site, self.pair.central):
                connections[alias].close()

    def end(self) -> None:
        """Let it finish its look."""
        self._ended.set()
        self.join()

    def check_so_far(self) -> None:
        """Raises AssertionError if it has seen what it may not."""
        assert not self.found, "\n".join(self.found[:20])

    def check(self) -> None:
        """The same at the end; also if it could not look until then."""
        self.check_so_far()
        assert self.looks
        assert self._looked_to_the_end, "the reader of central died"

    def _look(self) -> None:
        try:
            self._look_at_acks()
            self._look_at_rows()
        except OperationalError:
            # Central's server may be down; whether it may, the nemesis knows.
            connections[self.alias].close()
        else:
            self.looks += 1

    def _look_at_acks(self) -> None:
        acked = Stream.objects.using(self.pair.site).get().acked_seq
        _, offset = position(self.pair)
        if acked > offset:
            self.found.append(f"{acked} is acked, {offset} is applied")

    def _look_at_rows(self) -> None:
        if not audit.ends_with_an_offset(self.alias):
            self.found.append("rows without their offset")
        # Each query is one statement, and so sees one state.
        whole = Required.objects.using(self.alias).aggregate(n=Count("id"), money=Sum("price"))
        if (whole["n"], whole["money"] or 0) not in {(0, 0), (ACCOUNTS, ACCOUNTS * BALANCE)}:
            self.found.append(f"accounts: {whole}")
        questions = Question.objects.using(self.alias)
        newest = questions.filter(
            id__in=questions.order_by("-published_at").values("id")[:LOOKED_AT]
        )
        for text, choices in newest.annotate(n=Count("choices")).values_list("text", "n"):
            if int(text.rsplit(":", 1)[1]) != choices:
                self.found.append(f"question {text} has {choices} choices")


def check_whole(pair: Pair, writers: list[Writer]) -> int:
    """Compare central with the site, with what the writers say, and with its own counts.

    Returns how many records there were. Raises AssertionError.
    """
    assert compare(shared_models(pair), pair.site, pair.central) == []
    there = set(Question.objects.using(pair.central).values_list("text", flat=True))
    assert there == set().union(*(writer.expected for writer in writers))
    offset = Offset.objects.using(pair.central).get()
    assert offset.records_applied == offset.seq
    met = (offset.inserts_met, offset.updates_missed, offset.deletes_missed)
    assert met == (0, 0, 0)
    return offset.seq


def check_logs(ends: Iterable[End]) -> None:
    """Raises AssertionError if one of the ends has printed a traceback, or of an error of ours."""
    for end in ends:
        bad = [line for line in end.lines if "Traceback" in line or " ERROR " in line]
        assert not bad, f"{end.command} printed: {bad[0]}"
