"""`oplog_receive` as a process, for sites of these tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sockstream import tls
from tests.ends import ReceiverProcess
from tests.integration.receiver.site import Oplog, Site
from tests.unit.trust import Trust

MODELS = ["zoo", "polls"]


@dataclass(frozen=True)
class Files:
    """What ReceiverProcess wants to know of a folder of certificates."""

    trust: Trust

    def settings(self, name: str) -> dict[str, Any]:
        cert, key = self.trust.server()
        return {"CA": str(self.trust.ca), "CERT": str(cert), "KEY": str(key), "MODELS": MODELS}


def receiver(
    alias: str, trust: Trust, workers: int = 1, pragmas: str = "", **settings: Any
) -> ReceiverProcess:
    files: Any = Files(trust)
    environment = {"SOCKSTREAM_TEST_PRAGMAS": pragmas} if pragmas else {}
    return ReceiverProcess(
        alias, files, workers=workers, settings=settings, environment=environment
    )


def site_of(process: ReceiverProcess, trust: Trust, oplog: Oplog) -> Site:
    context = tls.client_context(trust.ca, *trust.client())
    return Site(("127.0.0.1", process.port), context, oplog)
