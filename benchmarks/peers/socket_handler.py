"""The standard library's SocketHandler with pickle, and the receiver that its cookbook documents.

    python -m benchmarks.peers.socket_handler --records N [--central sqlite|postgresql]

The records carry the documents of the file way and are applied like those: `deserialize` and
`save()` or `delete()` in autocommit. The receiver is that of the logging cookbook ("Sending and
receiving logging events across a network"), a `socketserver.ThreadingTCPServer` whose handler reads
lengths and pickles, in a process of its own which is running before.

This way keeps no backlog: what is logged while there is no road is gone. To be measured at all, the
documents are kept in memory first and handed to the handler then. The time is from the first of
them until the receiver has read the connection's end, after the last commit. The handler is as it
comes: it waits a second for room in the buffers, and drops a record that found none.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import pickle
import socketserver
import struct
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import connections

from benchmarks.peers import common, file_way
from tests.servers import HOST, free_port

if TYPE_CHECKING:
    from typing_extensions import Buffer

SPAWN = multiprocessing.get_context("spawn")
REFUSED = 10


class Kept(logging.Handler):
    """Keeps the documents."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.documents.append(record.getMessage())


class Sender(logging.handlers.SocketHandler):
    """Counts the bytes, and the records that it gave up."""

    def __init__(self, port: int) -> None:
        super().__init__(HOST, port)
        self.bytes = self.lost = 0

    def send(self, s: Buffer) -> None:
        super().send(s)
        self.bytes += len(memoryview(s))
        self.lost += self.sock is None


class Applying(logging.Handler):
    """What the receiver's logger does with a record."""

    def emit(self, record: logging.LogRecord) -> None:
        file_way.apply(record.getMessage())


class Receiver(socketserver.ThreadingTCPServer):
    """The cookbook's. Tells `ended` of each connection that has ended how many records it had."""

    allow_reuse_address = True

    def __init__(self, ended: Connection) -> None:
        super().__init__((HOST, 0), StreamHandler)
        self.ended = ended


class StreamHandler(socketserver.StreamRequestHandler):
    """The cookbook's: four bytes of length, then the pickle of a record's attributes."""

    server: Receiver

    def handle(self) -> None:
        count = 0
        while len(head := self.rfile.read(4)) == 4:
            (length,) = struct.unpack(">L", head)
            record = logging.makeLogRecord(pickle.loads(self.rfile.read(length)))
            logging.getLogger(record.name).handle(record)
            count += 1
        connections.close_all()
        self.server.ended.send(count)


def receive(databases: dict[str, Any], pipe: Connection) -> None:
    """Central's process: tell the port, serve until the other end of `pipe` is closed."""
    common.set_up(databases)
    logging.getLogger("oplog").addHandler(Applying())
    with Receiver(pipe) as server:
        pipe.send(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with suppress(EOFError):
            pipe.recv()
        server.shutdown()


def replay(documents: Iterable[str], port: int) -> Sender:
    """Log the documents; the handler that has sent them."""
    sender = Sender(port)
    log = logging.getLogger("oplog")
    log.addHandler(sender)
    for document in documents:
        log.info(document)
    log.removeHandler(sender)
    sender.close()
    return sender


def main() -> None:
    """Write, send what was written, compare."""
    options = common.arguments(__doc__)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases = common.ends(stack, folder, options.central)
        common.set_up(databases)
        ends, kept = file_way.Ends(), Kept()
        ends.write(kept, options.records)
        connections.close_all()
        pipe, theirs = SPAWN.Pipe()
        central = SPAWN.Process(target=receive, args=({"central": databases["central"]}, theirs))
        central.start()
        stack.callback(central.join)
        stack.callback(pipe.close)
        theirs.close()
        port = pipe.recv()
        begun = time.perf_counter()
        sender = replay(kept.documents, port)
        records = pipe.recv()
        seconds = time.perf_counter() - begun
        common.equal("site", "central")
        # Nobody listens there.
        refused = replay(kept.documents[:REFUSED], free_port())
        common.report(
            "SocketHandler",
            records,
            options.central,
            seconds,
            bytes=sender.bytes,
            note=(
                f"no backlog: of {REFUSED} records logged without a receiver, {refused.lost} were "
                f"lost, without an error; {ends.what_is_missed(folder)}; pickles, unprotected"
            ),
        )


if __name__ == "__main__":
    main()
