"""The main job: whatever is written at a site, by whatever way, is at central as it was."""

from __future__ import annotations

from django.db import connections
from django.db.models import Model

from demo.compare import Difference, compare
from tests.databases import Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    captured,
    position,
    send_once,
    shared_models,
    wait_until_applied,
)
from tests.integration.pair.values import a_few_of_each, odd_values, odd_values_of_postgresql
from tests.integration.pair.ways import WAYS


def differences(pair: Pair) -> list[Difference]:
    """What is not alike in all that is captured."""
    return compare(shared_models(pair), pair.site, pair.central)


def vendors(pair: Pair) -> list[str]:
    return [connections[alias].vendor for alias in (pair.site, pair.central)]


def test_every_way_to_write_arrives(
    pair: Pair, receiver: ReceiverProcess, certificates: Certificates
) -> None:
    with SenderProcess(pair.site, certificates, receiver.address) as sender:
        for way in WAYS:
            way(pair.site)
            wait_until_applied(pair, sender)
            assert differences(pair) == [], way.__name__
        assert sender.stop() == 0, sender.log


def test_what_was_written_in_every_way_while_offline_arrives_at_once(
    pair: Pair, receiver: ReceiverProcess, certificates: Certificates
) -> None:
    for way in WAYS[:-1]:
        way(pair.site)
    assert captured(pair.site)
    send_once(pair, certificates, receiver.address)
    assert captured(pair.site) == 0
    assert differences(pair) == []


def test_rows_of_every_model_arrive(
    pair: Pair, receiver: ReceiverProcess, certificates: Certificates
) -> None:
    models = shared_models(pair)
    a_few_of_each(models, pair.site)
    send_once(pair, certificates, receiver.address)
    assert differences(pair) == []
    assert [model for model in models if not is_filled(model, pair.central)] == []


def is_filled(model: type[Model], alias: str) -> bool:
    return model._base_manager.using(alias).exists()


def test_odd_values_arrive(
    pair: Pair, receiver: ReceiverProcess, certificates: Certificates
) -> None:
    rows: list[Model] = [*odd_values(vendors(pair))]
    if set(vendors(pair)) == {"postgresql"}:
        rows += odd_values_of_postgresql()
    for row in rows:
        row.save(using=pair.site)
    send_once(pair, certificates, receiver.address)
    assert differences(pair) == []


def test_sending_once_more_sends_nothing(
    pair: Pair, receiver: ReceiverProcess, certificates: Certificates
) -> None:
    WAYS[0](pair.site)
    send_once(pair, certificates, receiver.address)
    before = position(pair)
    send_once(pair, certificates, receiver.address)
    assert position(pair) == before
    assert before[0] == before[1] > 0
