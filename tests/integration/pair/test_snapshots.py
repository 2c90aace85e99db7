"""A snapshot makes central what the site is, whatever it was before."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle, islice

import pytest
from django.utils import timezone

from demo.compare import compare
from polls.models import Choice, Question, Tag
from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.exceptions import ConfigError
from sockstream.receiver.models import HeldRow, Holding, Offset, Owner, Source
from sockstream.receiver.streams import registry
from sockstream.receiver.streams.names import Name
from sockstream.sender import status
from sockstream.sender.capture import layouts
from sockstream.sender.models import Batch, Capture, Stream
from sockstream.sender.oplog import store
from sockstream.sender.oplog.sequencer import Sequencer
from sockstream.sender.oplog.snapshot import Snapshot
from sockstream.wire.errors import WireError
from tests.backups import backup
from tests.databases import Pair
from tests.ends import is_applied, position, shared_models
from tests.integration.pair.memory import SOURCE, Connection
from tests.zoo.models import Author, Essay


def number(pair: Pair, batch: int = 1000) -> None:
    for _ in Sequencer(pair.site, Settings(BATCH_RECORDS=batch)).steps():
        pass


def send(pair: Pair, life: int | None = None) -> None:
    own = Settings(MODELS=ours().MODELS)
    Connection(pair.site, pair.central, own, [1 << 20], life).run(cycle([3]))


def transfer(pair: Pair, batch: int = 1000) -> None:
    number(pair, batch)
    send(pair)
    assert is_applied(pair)


def take(pair: Pair, *labels: str, new_epoch: bool = False) -> int:
    small = Settings(MODELS=ours().MODELS, BATCH_RECORDS=3)
    return Snapshot(pair.site, small, labels).take(new_epoch=new_epoch)


def fill(pair: Pair, name: str) -> Question:
    question = Question(text=name, published_at=timezone.now())
    question.save(using=pair.site)
    for n in range(4):
        Choice(question=question, text=f"{name} {n}").save(using=pair.site)
    tag = Tag(name=name)
    tag.save(using=pair.site)
    question.tags.add(tag)
    return question


def test_of_equal_ends_changes_nothing(pair: Pair) -> None:
    fill(pair, "one")
    transfer(pair)
    assert take(pair) > 5
    transfer(pair, batch=4)
    assert compare(shared_models(pair), pair.site, pair.central) == []
    offset = Offset.objects.using(pair.central).get()
    assert (offset.inserts_met, offset.updates_missed, offset.deletes_missed) == (0, 0, 0)


def is_equal(pair: Pair) -> bool:
    return compare(shared_models(pair), pair.site, pair.central) == []


def refused(pair: Pair) -> str:
    with pytest.raises(WireError) as caught:
        transfer(pair)
    return caught.value.code


def test_after_the_site_s_backup_was_restored(pair: Pair) -> None:
    fill(pair, "kept")
    transfer(pair)
    before = backup(pair.site)
    fill(pair, "lost")
    Question.objects.using(pair.site).filter(text="kept").delete()
    transfer(pair)
    before.restore()
    assert refused(pair) == "sender-rewound"
    for _ in range(3):
        # A unique name that central knows from the lost history, under another key.
        Tag.objects.using(pair.site).filter(name="lost").delete()
        fill(pair, "lost")
    assert refused(pair) == "history-diverged"
    take(pair, new_epoch=True)
    transfer(pair)
    assert is_equal(pair)


def test_of_two_sites_leaves_the_rows_of_the_other_one(pair: Pair) -> None:
    fill(pair, "theirs")
    transfer(pair)
    [others] = Source.objects.using(pair.central).filter(name=SOURCE)
    others.name = "another"
    others.save(using=pair.central)
    # Another site's history has another epoch: by this one, the site would be known again.
    Offset.objects.using(pair.central).update(epoch=b"of another site!")
    Question.objects.using(pair.site).all().delete()
    Tag.objects.using(pair.site).all().delete()
    fill(pair, "mine")
    for text in ("changed", "changed again"):
        # Nobody sees how the row goes: central is told by the snapshot alone.
        Question.objects.using(pair.site).update(text=text)
        take(pair, new_epoch=True)
        number(pair)
        send(pair)
        texts = set(Question.objects.using(pair.central).values_list("text", flat=True))
        assert texts == {"theirs", text}
    Question.objects.using(pair.site).all().delete()
    take(pair, new_epoch=True)
    number(pair)
    send(pair)
    assert Question.objects.using(pair.central).get().text == "theirs"


def test_after_central_s_backup_was_restored_and_the_oplog_is_pruned(pair: Pair) -> None:
    fill(pair, "known")
    transfer(pair)
    before = backup(pair.central)
    parent = fill(pair, "unknown")
    author = Author(name="unknown")
    author.save(using=pair.site)
    transfer(pair)
    assert store.prune(pair.site, timedelta(0))
    before.restore()
    assert refused(pair) == "gap"
    steps = Snapshot(pair.site, Settings(MODELS=ours().MODELS, BATCH_RECORDS=2)).steps(
        new_epoch=True
    )
    next(steps)
    # Written while central lacks what it refers to, by a UUID and by an integer of central's own.
    Choice(question=parent, text="meanwhile").save(using=pair.site)
    Essay(title="meanwhile", author=author).save(using=pair.site)
    assert sum(more or 0 for more in steps) > 10
    transfer(pair)
    assert is_equal(pair)


def test_a_stream_that_central_has_never_heard_of(pair: Pair) -> None:
    fill(pair, "one")
    transfer(pair)
    store.prune(pair.site, timedelta(0))
    HeldRow.objects.using(pair.central).all().delete()
    Holding.objects.using(pair.central).all().delete()
    Owner.objects.using(pair.central).all().delete()
    Offset.objects.using(pair.central).all().delete()
    Source.objects.using(pair.central).all().delete()
    assert refused(pair) == "unknown-source"
    take(pair, new_epoch=True)
    transfer(pair)
    assert is_equal(pair)


def test_a_database_made_anew_is_adopted(pair: Pair) -> None:
    fill(pair, "old life")
    transfer(pair)
    for model in reversed(shared_models(pair)):
        model._base_manager.using(pair.site).all().delete()
    Stream.objects.using(pair.site).all().delete()
    Batch.objects.using(pair.site).all().delete()
    Capture.objects.using(pair.site).all().delete()
    fill(pair, "new life")
    assert refused(pair) == "epoch-unknown"
    with pytest.raises(ConfigError, match="Central has no stream nobody/"):
        registry.adopt(Name("nobody", pair.site), using=pair.central)
    before = registry.adopt(Name(SOURCE, pair.site), using=pair.central)
    assert before[1].seq
    transfer(pair)
    texts = set(Question.objects.using(pair.central).values_list("text", flat=True))
    assert texts == {"old life", "new life"}
    take(pair)
    transfer(pair)
    assert is_equal(pair)


def test_the_twin_of_a_forked_site_is_refused(pair: Pair) -> None:
    fill(pair, "one")
    transfer(pair)
    twin = backup(pair.site)
    take(pair, new_epoch=True)
    transfer(pair)
    twin.restore()
    fill(pair, "twin")
    assert refused(pair) == "epoch-unknown"
    take(pair, new_epoch=True)
    assert refused(pair) == "epoch-unknown"


def test_new_epochs_follow_each_other_however_much_central_heard(pair: Pair) -> None:
    fill(pair, "known")
    transfer(pair)
    found = set()
    for life in [*range(0, 1000, 100), None]:
        take(pair, new_epoch=True)
        number(pair)
        send(pair, life)
        mine, theirs = store.stream(pair.site), Offset.objects.using(pair.central).get()
        heard = bytes(theirs.pending_epoch or theirs.epoch)
        found.add((heard == bytes(mine.epoch), mine.welcomed))
    assert found == {(False, False), (True, False), (True, True)}
    # As if the acks had been lost.
    Stream.objects.using(pair.site).update(acked_seq=0)
    take(pair, new_epoch=True)
    take(pair, new_epoch=True)
    transfer(pair)
    assert is_equal(pair)


def test_readers_see_the_state_before_until_the_end(pair: Pair) -> None:
    fill(pair, "one")
    transfer(pair)
    steps = Snapshot(pair.site, Settings(MODELS=ours().MODELS, BATCH_RECORDS=2)).steps()
    for _ in islice(steps, 6):
        fill(pair, "live")
        Tag.objects.using(pair.site).filter(name="live").delete()
        number(pair, batch=5)
        send(pair)
        assert Question.objects.using(pair.central).count() == 1
    for _ in steps:
        pass
    transfer(pair)
    assert Question.objects.using(pair.central).count() == 7
    assert is_equal(pair)


def test_one_that_was_ended_is_taken_again(pair: Pair) -> None:
    fill(pair, "one")
    transfer(pair)
    Question.objects.using(pair.central).filter(text="one").update(text="changed at central")
    sent, _ = position(pair)
    steps = Snapshot(pair.site, Settings(MODELS=ours().MODELS, BATCH_RECORDS=2)).steps()
    for _ in islice(steps, 3):
        pass
    number(pair)
    del steps  # as the end of the process would
    assert status.report(pair.site)[0]["snapshot"] == "unfinished"
    # It is held back, even while a pass is being numbered: central would wait for its end in vain.
    assert not list(store.read(sent + 1, pair.site, 10, unfinished=True))
    fill(pair, "waits")
    number(pair)
    send(pair)
    assert not Question.objects.using(pair.central).filter(text="waits").exists()
    take(pair)
    transfer(pair)
    assert status.report(pair.site)[0]["snapshot"] == ""
    assert is_equal(pair)


def test_of_some_models(pair: Pair) -> None:
    fill(pair, "one")
    transfer(pair)
    Tag.objects.using(pair.central).update(name="central's")
    Question.objects.using(pair.central).update(text="central's")
    assert take(pair, "polls.Tag") == 1
    transfer(pair)
    assert Tag.objects.using(pair.central).get().name == "one"
    assert Question.objects.using(pair.central).get().text == "central's"
    with pytest.raises(ConfigError, match=r"polls.tags is not captured .* polls.tag"):
        take(pair, "polls.tags")


def test_by_signals(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(pair, "one")
    transfer(pair)
    Tag.objects.using(pair.central).update(name="central's")
    given = Settings(MODELS=ours().MODELS, CAPTURE="signals", BATCH_RECORDS=2)
    layouts.store(pair.site, layouts.python_plans(given, pair.site))
    assert Snapshot(pair.site, given).take() > 5
    transfer(pair)
    assert is_equal(pair)
