"""What runs in the virtual environment: the site writes, then central's consumer is started.

Reads CQRS_BENCH like `settings`, with `ctl` (the command line of rabbitmqctl), `records`,
`workers` and `central` (an entry of DATABASES) besides. Prints one line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from tempfile import TemporaryFile
from threading import Thread
from typing import IO, Any

import django

django.setup()

from dj_cqrs.transport import current_transport  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections, transaction  # noqa: E402
from django.db.models import Sum  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks.peers.cqrs.master.models import Choice, Question  # noqa: E402
from benchmarks.peers.cqrs.settings import CQRS  # noqa: E402
from benchmarks.workload import ROUND, Site  # noqa: E402

GIVEN = json.loads(os.environ["CQRS_BENCH"])
FILL = 20
LOOK_EVERY = 0.05
# Far longer than a message waits to be tried again.
STANDSTILL = 30.0
SAVES = 10
COLUMNS: dict[Any, tuple[str, ...]] = {
    Question: ("id", "text", "published_at", "closed", "cqrs_revision"),
    Choice: ("id", "question_id", "text", "votes", "cqrs_revision"),
}


@contextmanager
def consumer() -> Iterator[IO[str]]:
    """The documented command, as a process; what it logs, which are warnings and errors."""
    given = {**GIVEN, "role": "replica", "databases": {"default": GIVEN["databases"]["central"]}}
    command = ("-m", "django", "cqrs_consume", "--workers", str(GIVEN["workers"]))
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, "CQRS_BENCH": json.dumps(given)},
            stderr=log,
        )
        try:
            yield log
            assert process.poll() is None, "the consumer has ended"
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-2000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def state(using: str) -> tuple[int, ...]:
    """What tells whether all has arrived: counts of rows, and sums of what changes."""
    found: list[int] = []
    for model in COLUMNS:
        rows = model._default_manager.using(using)
        found += [rows.count(), rows.aggregate(sum=Sum("cqrs_revision"))["sum"] or 0]
    return tuple(found)


def await_central() -> tuple[float, float]:
    """When central first changed, and when it was as the site is, or stood still."""
    wanted, before = state("default"), state("central")
    first = last = 0.0
    begun = time.perf_counter()
    while (now := state("central")) != wanted:
        if now != before:
            before, last = now, time.perf_counter()
            first = first or last
        if time.perf_counter() - max(begun, last) > STANDSTILL:
            return first, last
        time.sleep(LOOK_EVERY)
    return first, time.perf_counter()


def bind() -> None:
    """Let the consumer make its queue. What is published before is dropped by the broker.

    Raises AssertionError if nothing arrives.
    """
    question = Question(text="Bound?", published_at=timezone.now())
    question.save()
    choice = Choice(question=question, text="Yes")
    deadline = time.monotonic() + STANDSTILL
    with consumer():
        while state("central") != state("default"):
            assert time.monotonic() < deadline, "nothing arrives"
            for row in (question, choice):
                row.save()
            time.sleep(0.5)


def queued() -> tuple[int, int]:
    """How many messages wait at the broker, and the bytes of their bodies."""
    done = subprocess.run(
        [*GIVEN["ctl"], "--silent", "list_queues", "messages", "message_bytes", "name"],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    [(messages, size)] = [line[:2] for line in lines if line[2] == "central"]
    return int(messages), int(size)


def differences() -> int:
    """How many rows are not alike."""
    found = 0
    for model, columns in COLUMNS.items():
        rows = [
            set(model._default_manager.using(using).values_list(*columns))
            for using in ("default", "central")
        ]
        found += len(rows[0] ^ rows[1])
    return found


def what_is_missed(site: Site) -> str:
    """Write what is not sent, or should not be; in words."""
    choice = Choice._default_manager.all()[0]

    def roll_back() -> None:
        for _ in range(SAVES):
            with transaction.atomic():
                choice.save()
                transaction.set_rollback(True)

    def without_broker() -> None:
        broker = CQRS["url"]
        current_transport.clean_connection()
        CQRS["url"] = "amqp://guest:guest@127.0.0.1:1/"
        # Each is an error in the log.
        logging.disable()
        for _ in range(SAVES):
            choice.save()
        logging.disable(logging.NOTSET)
        CQRS["url"] = broker

    counts = []
    for write in (site.write, roll_back, without_broker):
        before = queued()[0]
        write()
        counts.append(queued()[0] - before)
    return (
        f"of {ROUND:,} bulk writes, {counts[0]} were published; of {SAVES} saves rolled back, "
        f"{counts[1]}; of {SAVES} saves without a broker, {counts[2]}"
    )


def end_with_the_parent() -> None:
    """Exit when standard input ends, as it does when the parent is gone."""
    sys.stdin.read()
    signal.raise_signal(signal.SIGTERM)


def main() -> None:
    """Fill, write, drain, compare."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    Thread(target=end_with_the_parent, daemon=True).start()
    for alias in connections:
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    site = Site("default", Question, Choice)
    for each in (site, Site("central", Question, Choice)):
        each.fill(FILL)
    bind()
    rounds = max(1, GIVEN["records"] // ROUND)
    size_before = queued()[1]
    for _ in range(rounds):
        site.save()
    size = queued()[1] - size_before
    begun = time.perf_counter()
    with consumer() as log:
        first, last = await_central()
        log.seek(0)
        again = sum("is delayed" in line for line in log)
    packages = ("Django", "django-cqrs", "pika")
    result: dict[str, Any] = {
        "versions": {name: version(name) for name in packages},
        "records": rounds * ROUND,
        "seconds": last - begun,
        "start_seconds": round(first - begun, 2),
        "bytes": size,
        "differences": differences(),
        "note": f"{again} messages failed and were tried again; {what_is_missed(site)}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
