"""Faults of what is kept: records that are pruned, certificates that are renewed, snapshots."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from sockstream.sender.oplog import store
from tests.ends import ROOT, SOURCE
from tests.faults.fault import Lane, fault
from tests.faults.rig import Rig

RENEWED_WITHIN = 30.0
BEGUN_WITHIN = 60.0
SERVER = "localhost"


@fault(Lane.LINK, shortest=0.1, longest=0.5)
@contextmanager
def oplog_pruned(rig: Rig, draw: Random) -> Iterator[None]:
    """All that is acked goes at once, as if nothing were kept for longer."""
    rig.prune()
    rig.proxy.cut(reset=True)
    yield
    rig.prune()


@fault(Lane.LINK, shortest=0.5, longest=3.0)
@contextmanager
def certificate_renewed(rig: Rig, draw: Random) -> Iterator[None]:
    """Of one end, which is told or looks by itself; the other end sees it at the next handshake."""
    name = draw.choice([SOURCE, SERVER])
    renew = [sys.executable, "-m", "sockstream", "certs", "--out", str(rig.certificates.folder)]
    subprocess.run(
        [*renew, "renew", name],
        check=True,
        cwd=ROOT,
        capture_output=True,
        timeout=RENEWED_WITHIN,
    )
    if draw.random() < 0.5:
        for end in [rig.sender] if name == SOURCE else rig.receivers:
            if end.running and end.log:
                end.signal(signal.SIGHUP)
    yield
    rig.proxy.cut(reset=draw.random() < 0.5)


@fault(Lane.SNAPSHOT, shortest=0.0, longest=0.3)
@contextmanager
def snapshot_killed_half_way(rig: Rig, draw: Random) -> Iterator[None]:
    """Its first rows are records already; the next one begins anew in the same group."""
    first = rig.take_snapshot()
    rig.wait(
        lambda: store.head(rig.pair.site).snapshot or first not in rig.snapshots,
        "a snapshot has begun",
        BEGUN_WITHIN,
    )
    yield
    first.kill()
