"""Certificates with something wrong about them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sockstream.certs.authority import Authority, Pair

Settings = dict[str, str]
"""Keys of SOCKSTREAM."""


class Papers:
    """Made in `folder`, mostly by the authority whose files are in `home`."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        files = (home / "ca.crt").read_bytes(), (home / "ca.key").read_bytes()
        self.authority = Authority(Pair(*files))

    def of(self, name: str) -> Settings:
        """The files that `sockstream certs` made for `name`."""
        return {"CERT": str(self.home / f"{name}.crt"), "KEY": str(self.home / f"{name}.key")}

    def expired(self, kind: str) -> Settings:
        """A certificate of the "client" `site`, or of the "server" localhost, of long ago."""
        made, days = datetime.now(UTC) - timedelta(days=40), 30
        if kind == "client":
            return self._write(kind, self.authority.client("site", made, days))
        return self._write(kind, self.authority.server(["localhost", "127.0.0.1"], made, days))

    def server(self, host: str) -> Settings:
        """A new server certificate for `host` alone."""
        return self._write(host, self.authority.server([host], datetime.now(UTC), 60))

    def stranger(self) -> tuple[Settings, Settings]:
        """Another authority: the setting of its own file, and those of a client that it signed."""
        now = datetime.now(UTC)
        ca = Authority.new(now, 60)
        own = self._write("stranger", ca)
        signed = self._write("signed", Authority(ca).client("site", now, 60))
        return {"CA": own["CERT"]}, signed

    def context(self, protocol: int, files: Settings | None) -> ssl.SSLContext:
        """What a program that is not ours speaks TLS with: it does not look at its own files."""
        context = ssl.SSLContext(protocol)
        context.load_verify_locations(self.home / "ca.crt")
        if files is not None:
            context.load_cert_chain(files["CERT"], files["KEY"])
        return context

    def _write(self, name: str, pair: Pair) -> Settings:
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        cert.write_bytes(pair.cert)
        key.write_bytes(pair.key)
        return {"CERT": str(cert), "KEY": str(key)}
