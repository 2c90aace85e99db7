"""An oplog that is not what was numbered: nothing of it is sent, and both ends say which row."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from demo.compare import compare
from polls.models import Question
from sockstream.conf import settings
from sockstream.receiver.models import Offset, State
from sockstream.sender.models import Batch, Stream
from sockstream.sender.oplog.sequencer import Sequencer
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    position,
    wait_until,
    wait_until_applied,
)
from tests.servers import HOST, free_port

PASSES, ROWS = 3, 4


def number(pair: Pair) -> list[Batch]:
    """Some passes of the sequencer, a batch each; what is stored of them."""
    for turn in range(PASSES):
        Question.objects.using(pair.site).bulk_create(
            Question(text=f"{turn}: {row}", published_at=timezone.now()) for row in range(ROWS)
        )
        for _ in Sequencer(pair.site, settings()).steps():
            pass
    return list(Batch.objects.using(pair.site).order_by("first_seq"))


def flipped(value: Any) -> Any:
    """One bit of it is another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1 << 20
    value = bytes(value)
    middle = len(value) // 2
    return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]


@pytest.mark.parametrize(
    ("pair", "column"),
    [
        (PAIRS["sqlite-sqlite"], "data"),
        (PAIRS["sqlite-sqlite"], "header"),
        (PAIRS["sqlite-sqlite"], "digest_after"),
        (PAIRS["sqlite-sqlite"], "digest_before"),
        (PAIRS["sqlite-sqlite"], "segments"),
        (PAIRS["sqlite-sqlite"], "open"),
        (PAIRS["sqlite-sqlite"], "cut"),
        (PAIRS["pg-pg"], "data"),
        (PAIRS["pg-pg"], "segments"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.site,
    indirect=["pair"],
)
def test_a_damaged_row_is_named_and_stops_the_stream_before_it(
    pair: Pair, certificates: Certificates, column: str
) -> None:
    first, second, _ = number(pair)
    rows = Batch.objects.using(pair.site).filter(pk=second.pk)
    whole = getattr(second, column)
    rows.update(**{column: flipped(whole)})
    with (
        ReceiverProcess(pair.central, certificates) as receiver,
        SenderProcess(pair.site, certificates, receiver.address) as sender,
    ):
        said = f"The records {second.first_seq} to {second.last_seq} are not what was numbered"
        sender.wait_for_line(said)
        # The site's own word: central would find it too, had it come so far.
        receiver.wait_for_line(f"gone: digest-mismatch: {said}")
        assert position(pair)[1] == first.last_seq
        offset = Offset.objects.using(pair.central)
        wait_until(lambda: offset.get().state == State.STOPPED, "noted at central")
        assert (offset.get().error_code, said in offset.get().error) == ("digest-mismatch", True)
        assert Stream.objects.using(pair.site).get().error_code == "digest-mismatch"
        assert Question.objects.using(pair.central).count() == ROWS
        rows.update(**{column: whole})
        wait_until_applied(pair, sender, receiver)
        wait_until(lambda: offset.get().error_code == "", "over")
    assert compare([Question], pair.site, pair.central) == []
    connections[pair.central].close()


@pytest.mark.parametrize("pair", [PAIRS["sqlite-sqlite"]], ids=["sqlite"], indirect=True)
def test_a_row_that_is_gone_stops_the_stream_before_it(
    pair: Pair, certificates: Certificates
) -> None:
    first, second, _ = number(pair)
    Batch.objects.using(pair.site).filter(pk=second.pk).delete()
    with (
        ReceiverProcess(pair.central, certificates) as receiver,
        SenderProcess(pair.site, certificates, receiver.address) as sender,
    ):
        sender.wait_for_line(f"where {second.first_seq} was to be sent")
        assert position(pair)[1] == first.last_seq
        second.save(using=pair.site, force_insert=True)
        wait_until_applied(pair, sender, receiver)
    assert compare([Question], pair.site, pair.central) == []
    connections[pair.central].close()


@pytest.mark.parametrize("pair", [PAIRS["sqlite-sqlite"]], ids=["sqlite"], indirect=True)
def test_an_oplog_that_grows_and_grows_is_told_and_nothing_is_dropped(
    pair: Pair, certificates: Certificates
) -> None:
    number(pair)
    address = f"{HOST}:{free_port()}"
    sender = SenderProcess(pair.site, certificates, address, settings={"OPLOG_MAX_BYTES": 100})
    with sender:
        sender.wait_for_line(r"holds more than OPLOG_MAX_BYTES \(100 bytes\)\. Nothing is dropped")
        sender.wait_for_line("Nothing listens")
        Question(text="meanwhile", published_at=timezone.now()).save(using=pair.site)
        seq = PASSES * ROWS + 1
        wait_until(lambda: position(pair)[0] == seq, "numbered")
        central = ReceiverProcess(pair.central, certificates)
        central.port = int(address.rpartition(":")[2])
        with central:
            wait_until_applied(pair, sender, central)
            assert sender.stop() == 0
    assert Question.objects.using(pair.central).count() == seq
    assert len([line for line in sender.lines if "OPLOG_MAX_BYTES" in line]) == 1
    connections[pair.central].close()
