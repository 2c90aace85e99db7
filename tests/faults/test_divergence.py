"""Histories that differ, by the real commands: found, told at both ends, mended by one command."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from demo.compare import compare
from polls.models import Question, Tag
from sockstream.sender.oplog import store
from tests.backups import backup
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    Certificates,
    End,
    ReceiverProcess,
    SenderProcess,
    shared_models,
    wait_until,
    wait_until_applied,
)

PAIRED = ["sqlite-sqlite", "pg-pg"]
QUESTIONS = 300

pytestmark = pytest.mark.parametrize(
    "pair", [PAIRS[name] for name in PAIRED], ids=PAIRED, indirect=True
)


class SnapshotProcess(End):
    """`oplog_snapshot`."""

    command = "oplog_snapshot"
    certificate = "site"

    def __init__(self, alias: str, certificates: Certificates, *words: str) -> None:
        super().__init__(alias, certificates)
        self.words = words

    @property
    def arguments(self) -> Sequence[str]:
        return [*self.words, "--database", self.alias]


@pytest.fixture
def receiver(pair: Pair, certificates: Certificates) -> Iterator[ReceiverProcess]:
    with ReceiverProcess(pair.central, certificates) as process:
        yield process
        assert process.stop() == 0, process.log
    assert "Traceback" not in "\n".join(process.lines)


def write(pair: Pair, name: str) -> None:
    now = timezone.now()
    Question.objects.using(pair.site).bulk_create(
        Question(text=f"{name} {n}", published_at=now) for n in range(QUESTIONS)
    )
    Tag(name=name).save(using=pair.site)


def status_of(alias: str, end: str) -> Any:
    out = StringIO()
    call_command("oplog_status", "--json", database=alias, stdout=out)
    [row] = json.loads(out.getvalue())[end]
    return row


def sent(pair: Pair, certificates: Certificates, receiver: ReceiverProcess) -> None:
    with SenderProcess(pair.site, certificates, receiver.address) as sender:
        wait_until_applied(pair, sender, receiver)
        assert sender.stop() == 0, sender.log


def snapshot(pair: Pair, certificates: Certificates, *words: str) -> str:
    with SnapshotProcess(pair.site, certificates, *words) as process:
        assert process.wait() == 0, process.log
    return process.log


def refused(pair: Pair, certificates: Certificates, receiver: ReceiverProcess, code: str) -> str:
    """Both ends and both statuses name it; nothing is changed. What the sender says."""
    before = status_of(pair.central, "central")
    with SenderProcess(pair.site, certificates, receiver.address) as sender:
        wait_until(lambda: status_of(pair.site, "site")["error_code"] == code, code)
        assert sender.stop() == 0, sender.log
    after = status_of(pair.central, "central")
    assert after["error_code"] == code
    assert (after["seq"], after["digest"]) == (before["seq"], before["digest"])
    # It may have connected before what was written was numbered, so the last word counts.
    line = [line for line in sender.lines if "WARNING" in line][-1]
    assert "oplog_snapshot --new-epoch" in line or "oplog_source adopt" in line
    return line


def test_a_restored_site(pair: Pair, certificates: Certificates, receiver: ReceiverProcess) -> None:
    write(pair, "kept")
    sent(pair, certificates, receiver)
    before = backup(pair.site)
    write(pair, "lost")
    sent(pair, certificates, receiver)
    before.restore()
    assert "restored from an older copy" in refused(pair, certificates, receiver, "sender-rewound")
    write(pair, "lost")
    write(pair, "written on")
    refused(pair, certificates, receiver, "history-diverged")
    said = snapshot(pair, certificates, "--new-epoch")
    assert f"polls.question: {3 * QUESTIONS:,} rows" in said
    sent(pair, certificates, receiver)
    assert compare(shared_models(pair), pair.site, pair.central) == []
    assert status_of(pair.central, "central")["error_code"] == ""
    assert status_of(pair.site, "site")["error_code"] == ""


def test_a_restored_central(
    pair: Pair, certificates: Certificates, receiver: ReceiverProcess
) -> None:
    write(pair, "kept")
    sent(pair, certificates, receiver)
    before = backup(pair.central)
    write(pair, "comes again")
    sent(pair, certificates, receiver)
    before.restore()
    with SenderProcess(pair.site, certificates, receiver.address) as sender:
        sender.wait_for_line("What it lost is sent again")
        wait_until_applied(pair, sender, receiver)
        assert sender.stop() == 0, sender.log
    assert compare(shared_models(pair), pair.site, pair.central) == []
    # Once more, and now the site no longer has what central lost.
    assert store.prune(pair.site, timedelta(0))
    before.restore()
    refused(pair, certificates, receiver, "gap")
    snapshot(pair, certificates, "--new-epoch")
    sent(pair, certificates, receiver)
    assert compare(shared_models(pair), pair.site, pair.central) == []


def test_a_snapshot_beside_a_site_at_work(
    pair: Pair, certificates: Certificates, receiver: ReceiverProcess
) -> None:
    """The sender runs on; a second snapshot, and a new epoch meanwhile, are refused in one line."""
    write(pair, "before")
    with SenderProcess(pair.site, certificates, receiver.address) as sender:
        wait_until_applied(pair, sender, receiver)
        Question.objects.using(pair.central).filter(text="before 7").delete()
        with SnapshotProcess(pair.site, certificates, "--new-epoch") as refused_one:
            assert refused_one.wait() == 1
        assert "oplog_send runs on" in refused_one.log
        assert "Stop it, run oplog_snapshot --new-epoch again" in refused_one.log
        with SnapshotProcess(pair.site, certificates) as process:
            while process.running:
                Tag(name=f"live {timezone.now()}").save(using=pair.site)
            assert process.wait() == 0, process.log
        wait_until_applied(pair, sender, receiver)
        assert sender.stop() == 0, sender.log
    assert compare(shared_models(pair), pair.site, pair.central) == []


def test_a_snapshot_s_process_is_killed(
    pair: Pair, certificates: Certificates, receiver: ReceiverProcess
) -> None:
    write(pair, "before")
    sent(pair, certificates, receiver)
    with SnapshotProcess(pair.site, certificates) as process:
        process.wait_for_line("rows")
        process.kill()
    write(pair, "behind it")
    assert not Tag.objects.using(pair.central).filter(name="behind it").exists()
    with SenderProcess(pair.site, certificates, receiver.address, once=True) as sender:
        assert sender.wait() == 0, sender.log
    assert "the rest of a snapshot were not captured" in sender.log
    assert status_of(pair.site, "site")["snapshot"] == ""
    assert compare(shared_models(pair), pair.site, pair.central) == []
