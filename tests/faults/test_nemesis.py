"""A few short runs of the faults harness; `make faults` goes on for as long as you like."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import pytest

from tests.databases import Pair
from tests.ends import Certificates
from tests.faults import chapter
from tests.faults.fault import FAULTS
from tests.faults.nemesis import left_out, possible
from tests.faults.test_kills import PAIRED, PAIRED_IDS

SECONDS = 8.0
SEEDS = {"site_sqlite": 11, "site_pg": 12}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pair", PAIRED, ids=PAIRED_IDS, indirect=True)
def test_nothing_is_lost_whatever_fails(pair: Pair, certificates: Certificates) -> None:
    seed = int(os.environ.get("SOCKSTREAM_SEED") or SEEDS[pair.site])
    sys.stdout.write(f"SOCKSTREAM_SEED={seed}\n")
    result = chapter.run(pair, certificates, seed, SECONDS)
    sys.stdout.write(f"{asdict(result)}\n")
    assert result.faults
    assert result.transactions


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_every_fault_can_be_drawn_or_it_is_said_why_not(vendor: str) -> None:
    drawn = {fault.name for fault in possible(vendor)}
    meant = {fault.name for fault in FAULTS if fault.vendor in {"", vendor}}
    assert meant - drawn == set(left_out(vendor))
    assert len(drawn) > 25


def test_no_two_faults_share_a_name() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
