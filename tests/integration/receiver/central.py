"""Central in a thread of the test's own process, on real sockets and a real database."""

from __future__ import annotations

import logging
import ssl
import threading
from contextlib import ExitStack
from typing import Any, Self

from django.test import override_settings

from sockstream import tls
from sockstream.conf import settings
from sockstream.process import Stop, hangups
from sockstream.receiver.roads.mtls.listening import listen
from sockstream.receiver.roads.mtls.server import Server
from sockstream.tls.papers import Papers, Paths
from tests.integration.receiver.site import Oplog, Site
from tests.unit.trust import Trust

HOST = "127.0.0.1"
QUICK = {
    "MODELS": ["zoo", "polls"],
    "HEARTBEAT": 2.0,
    "HANDSHAKE_TIMEOUT": 2.0,
    "RECHECK": 0.2,
}


class Central:
    """A Server that listens on a free port. As a context manager it drains at the end."""

    def __init__(self, using: str, trust: Trust, **changes: Any) -> None:
        self.using = using
        self.trust = trust
        self.lines: list[str] = []
        self.failed: BaseException | None = None
        self._changes = changes
        self._stop = Stop()
        self._end = ExitStack()
        self._thread = threading.Thread(target=self._run, name="central")

    def __enter__(self) -> Self:
        self._end.enter_context(override_settings(SOCKSTREAM={**QUICK, **self._changes}))
        cert, key = self.trust.server()
        crl = self.trust.folder / "crl.pem"
        files = Paths(str(self.trust.ca), str(cert), str(key), str(crl) if crl.exists() else "")
        self._sockets = self._end.enter_context(listen(HOST, 0))
        self.address = self._sockets[0].getsockname()[:2]
        self._heard = _Lines(self.lines)
        logger = logging.getLogger("sockstream")
        logger.addHandler(self._heard)
        logger.setLevel(logging.DEBUG)
        self._end.callback(logger.removeHandler, self._heard)
        self.hangup = self._end.enter_context(hangups())
        self.server = Server(Papers(lambda: files), self.using, settings(), self.hangup)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stop.close()
        self._end.close()
        assert self.failed is None, self.failed

    def _run(self) -> None:
        try:
            self.server.run(self._sockets, self._stop)
        except BaseException as error:
            self.failed = error
            raise

    def stop(self) -> None:
        """As a signal does; returns when everything is in order."""
        self._stop.request("test")
        self._thread.join(30)
        assert not self._thread.is_alive(), "\n".join(self.lines)

    def context(self, name: str = "site") -> ssl.SSLContext:
        """A new client certificate's context."""
        cert, key = self.trust.client(name)
        return tls.client_context(self.trust.ca, cert, key)

    def site(
        self,
        name: str = "site",
        oplog: Oplog | None = None,
        *,
        context: ssl.SSLContext | None = None,
        **options: Any,
    ) -> Site:
        """A site of that name, not connected yet."""
        made = Site(self.address, context or self.context(name), oplog, **options)
        self._end.callback(made.close)
        return made

    def said(self, text: str) -> bool:
        """Whether there is a log line with `text` in it."""
        return any(text in line for line in self.lines)

    def wait_for_line(self, text: str, within: float = 10.0) -> str:
        """The first log line with `text` in it, which may be to come."""
        return self._heard.wait_for(text, within)


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines
        self._added = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._added:
            self._lines.append(f"{record.levelname} {self.format(record)}")
            self._added.notify_all()

    def wait_for(self, text: str, within: float) -> str:
        def found() -> str | None:
            return next((line for line in self._lines if text in line), None)

        with self._added:
            line = self._added.wait_for(found, within)
        assert line is not None, f"no line with {text!r}:\n" + "\n".join(self._lines)
        return line
