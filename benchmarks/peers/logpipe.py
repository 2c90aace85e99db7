"""django-logpipe over Kafka: signals send each row, and a consumer at central saves it.

    python -m benchmarks.peers.logpipe --records N [--central sqlite|postgresql]

As its documentation has it: a DRF ModelSerializer for each model with `lookup_instance`, a producer
that sends what a signal brings, `Consumer.run()`, offsets in the database (`ModelOffsetStore`, in
the transaction of the row). It has no word for a delete; a serializer of its own with its own
`save()` is the way that its documentation gives for what is no row. The serializers have no
`KEY_FIELD`, so that all messages are in one partition: with keys, as in its example, a choice could
come before its question, and the consumer skips what does not validate.

It talks to Kafka by kafka-python. The broker is the one that librdkafka carries for tests, which
listens on a real port. It holds messages in memory, 5 MB a partition: so the backlog is written and
drained in portions of PORTION rounds, and only the draining counts. It answers a fetch with one
batch, where Kafka gives as many as there are, and each message is a batch, since the producer waits
for each. So that the consumer is not slower than with Kafka, it reads a topic into which the same
messages were sent together.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import common
from benchmarks.workload import ROUND, Site

PEER = "django-logpipe over Kafka"
PACKAGES = ["django-logpipe", "djangorestframework", "kafka-python", "confluent-kafka"]
NOTE = (
    "Nothing lost with all messages in one partition; with keys, as documented, choices that come "
    "before their question are skipped. Deletes by a serializer written for them. Sent after the "
    "save and not with it: lost if the process dies between the two, sent even if the "
    "transaction is rolled back. Not captured: update(), bulk_create(), SQL. The broker is "
    "librdkafka's mock, in memory."
)
TOPIC, TOGETHER = "polls", "polls-together"
# Rounds.
PORTION = 10
PLAIN = 3
# What Kafka's format has around a message, which is sent by itself.
BATCH_OF_ONE = 70


@contextmanager
def capturing() -> Iterator[None]:
    """Send each row that is saved or deleted; central has no such signals."""
    from django.db.models.signals import post_delete, post_save
    from logpipe import DRFProducer

    from benchmarks.peers.logpipe_serializers import (
        ChoiceSerializer,
        DeletedSerializer,
        QuestionSerializer,
    )
    from polls.models import Choice, Question

    with ExitStack() as stack:
        for signal, model, serializer in (
            (post_save, Question, QuestionSerializer),
            (post_save, Choice, ChoiceSerializer),
            (post_delete, Choice, DeletedSerializer),
        ):
            send = partial(send_instance, DRFProducer(TOPIC, serializer))
            signal.connect(send, sender=model, weak=False)
            stack.callback(signal.disconnect, send, sender=model)
        yield


def send_instance(producer: Any, instance: Any, **_: Any) -> None:
    """What a signal calls; it returns when the broker has the message."""
    producer.send(instance)


def send_together(messages: Sequence[bytes]) -> None:
    """What was sent, once more to the topic that central reads, in batches."""
    from kafka import KafkaProducer
    from logpipe import settings

    producer = KafkaProducer(
        bootstrap_servers=settings.get("KAFKA_BOOTSTRAP_SERVERS"),
        linger_ms=100,
        **settings.get("KAFKA_KWARGS"),
    )
    sent = [producer.send(TOGETHER, key=b"", value=message) for message in messages]
    producer.close()
    for each in sent:
        each.get()


def seconds_to_save(site: Site) -> float:
    """Let the site write a round."""
    begun = time.perf_counter()
    site.save()
    return time.perf_counter() - begun


def seconds_to_drain(count: int) -> float:
    """Let a new consumer take so many messages, or fewer, if a second brings none."""
    from logpipe import Consumer

    from benchmarks.peers.logpipe_serializers import ALL

    begun = time.perf_counter()
    consumer = Consumer(TOGETHER)
    for serializer in ALL:
        consumer.register(serializer)
    consumer.run(iter_limit=count)
    seconds = time.perf_counter() - begun
    consumer.consumer.client.close()
    return seconds


def measure(central: str, rounds: int) -> None:
    """Write and drain in portions, compare, report."""
    from logpipe import JSONParser
    from logpipe import format as formats

    from benchmarks.peers.logpipe_serializers import NotedJSON
    from polls.models import Choice, Question

    site, twin = (Site(alias, Question, Choice) for alias in ("site", "default"))
    site.fill(common.FILL)
    plain = [seconds_to_save(site) for _ in range(PLAIN)]
    twin.fill(common.FILL)  # the same seed writes the same rows
    for _ in range(PLAIN):
        twin.write()
    messages: list[bytes] = []
    formats.register("json", NotedJSON(messages), JSONParser())
    captured: list[float] = []
    draining = 0.0
    size = 0
    for begun in range(0, rounds, PORTION):
        portion = min(PORTION, rounds - begun)
        with capturing():
            captured += [seconds_to_save(site) for _ in range(portion)]
        send_together(messages)
        size += sum(map(len, messages)) + BATCH_OF_ONE * len(messages)
        messages.clear()
        draining += seconds_to_drain(portion * ROUND)
    common.equal("site", "default")
    common.report(
        PEER,
        rounds * ROUND,
        central,
        draining,
        packages=PACKAGES,
        bytes=size,
        capture_ratio=round(median(captured) / median(plain), 2),
        note=NOTE,
    )


def broker() -> tuple[Any, str]:
    """The mock broker, which lives as long as the client that has it, and its address."""
    from confluent_kafka import Producer

    # What it has to say is that it is no real one.
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (address,) = owner.list_topics(timeout=10).brokers.values()
    return owner, f"{address.host}:{address.port}"


def main() -> None:
    """Measure, if it is installed."""
    options = common.arguments(__doc__)
    if not all(map(find_spec, ("confluent_kafka", "kafka", "logpipe"))):
        common.missing(PEER, "it is not installed: pip install -e '.[bench]'")
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        owner, address = broker()
        ends = common.ends(stack, folder, options.central)
        backend = "logpipe.backend.kafka"
        common.set_up(
            # Its consumer knows one database.
            {"site": ends["site"], "default": ends["central"]},
            ["logpipe"],
            LOGPIPE={
                "OFFSET_BACKEND": f"{backend}.ModelOffsetStore",
                "CONSUMER_BACKEND": f"{backend}.Consumer",
                "PRODUCER_BACKEND": f"{backend}.Producer",
                "KAFKA_BOOTSTRAP_SERVERS": [address],
                # The mock does not answer to how kafka-python asks for versions.
                "KAFKA_KWARGS": {"api_version": (2, 8)},
                "KAFKA_CONSUMER_KWARGS": {"group_id": "central"},
            },
        )
        measure(options.central, options.records // ROUND)
        del owner


if __name__ == "__main__":
    main()
