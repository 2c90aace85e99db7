"""The folder of an authority: ca.crt, ca.key, crl.pem, and NAME.crt and NAME.key for each name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from sockstream.exceptions import ConfigError

from . import disk, index, revocation
from .authority import Authority, Pair, Revocation
from .index import CLIENT, SERVER, Issued
from .names import checked_hosts, checked_name

CA = "ca"
CRL = "crl.pem"
AUTHORITY_DAYS = 3650
LOCALHOST = ("localhost", "127.0.0.1", "::1")
SITE = "site"


@contextmanager
def opened(folder: Path, now: datetime, *, days: int | None = None) -> Iterator[Store]:
    """The store in `folder`, held alone, with whatever a crash left behind mended.

    `days`: make an authority if there is none, good for at least that long.
    Raises ConfigError for what a person has to mend, OSError for what the disk refuses.
    """
    if days is None and not (folder / f"{CA}.crt").exists():
        raise _no_authority(folder)
    with disk.locked(folder):
        done = [f"Finished the interrupted change of {name}" for name in disk.recover(folder)]
        if days is not None and not (folder / f"{CA}.crt").exists():
            done.append(_make_authority(folder, now, max(days, AUTHORITY_DAYS)))
        store = Store(folder, now, _load_authority(folder, now), done)
        store.mend()
        yield store


class Store:
    """An opened folder. Methods say what they did in `done`, a sentence each."""

    def __init__(self, folder: Path, now: datetime, authority: Authority, done: list[str]) -> None:
        self.folder = folder
        self.now = now
        self.authority = authority
        self.done = done
        self.issued = index.load(folder)

    def mend(self) -> None:
        """Take up certificates that the index lacks; sign a CRL if it is missing, old or short."""
        known = {entry.serial for entry in self.issued}
        self._record(e for e in in_use(self.folder, self.authority.cert) if e.serial not in known)
        try:
            listed = revocation.read_own(self.folder / CRL, self.authority.cert)
        except FileNotFoundError:
            self._sign_crl(0)
            self.done.append(f"Made {self.folder / CRL}, the list of revoked certificates")
            return
        self._record(
            replace(e, revoked=listed.revoked[e.serial])
            for e in self.issued
            if e.revoked is None and e.serial in listed.revoked
        )
        missing = any(e.revoked and e.serial not in listed.revoked for e in self.issued)
        if missing or listed.next_update < self.now:
            self._sign_crl(listed.number)
            self.done.append(f"Renewed {self.folder / CRL}, the list of revoked certificates")

    def make_plain(self, days: int) -> None:
        """Make what was never made of the plain set: a server's for localhost, and a site's."""
        for kind, names in ((SERVER, LOCALHOST), (CLIENT, (SITE,))):
            if not self._of(names[0]):
                self._issue(kind, names, days)

    def server(self, hosts: Sequence[str], days: int) -> None:
        """Make a certificate for `hosts`, named after the first; nothing if it is there."""
        self._make(SERVER, checked_hosts(hosts), days)

    def client(self, name: str, days: int) -> None:
        """Make a certificate for the site `name`; nothing if it is there."""
        self._make(CLIENT, (checked_name(name),), days)

    def renew(self, name: str, days: int, *, revoke_old: bool = False) -> None:
        """Put a new key and certificate in the place of those of `name`, revoked or not.

        The old certificate stays good until it expires, unless `revoke_old`.
        """
        old = self._known(name)
        last = old[-1]
        self._issue(last.kind, last.hosts or (last.name,), days, anew=True)
        if revoke_old:
            self._revoke(old)

    def revoke(self, name: str) -> None:
        """Put every certificate of `name` on the CRL: the one in use, and those before it."""
        self._revoke(self._known(name))

    def _make(self, kind: str, names: tuple[str, ...], days: int) -> None:
        before = self._of(names[0])
        if not before:
            self._issue(kind, names, days)
            return
        last = before[-1]
        if (last.name, last.kind, last.hosts or (last.name,)) != (names[0], kind, names):
            raise ConfigError(
                f"The name {names[0]!r} is taken by {_words(last)}",
                "Choose another name, or another first host",
            )
        if last.revoked or not disk.belong_together(*self._files(last.name)):
            why = "was revoked" if last.revoked else "was made, but its files are not here"
            raise ConfigError(
                f"The certificate {last.name!r} {why}", f"Run: sockstream certs renew {last.name}"
            )

    def _issue(self, kind: str, names: tuple[str, ...], days: int, *, anew: bool = False) -> None:
        name = names[0]
        pair = self._signed(kind, names, days)
        entry = Issued.of(name, x509.load_pem_x509_certificate(pair.cert))
        assert entry is not None
        if not anew:
            disk.check_free(self.folder, name)
        disk.stage_pair(self.folder, name, pair)
        # Before it can be used: a certificate that the index lacks would escape a revocation.
        self._record([entry])
        if anew:
            disk.replace_pair(self.folder, name)
        else:
            disk.create_pair(self.folder, name)
        self.done.append(
            f"{'Renewed' if anew else 'Made'} {self.folder / name}.crt and .key, {_words(entry)}"
        )

    def _signed(self, kind: str, names: Sequence[str], days: int) -> Pair:
        if kind == SERVER:
            return self.authority.server(names, self.now, days)
        return self.authority.client(names[0], self.now, days)

    def _revoke(self, entries: Iterable[Issued]) -> None:
        fresh = [replace(e, revoked=self.now) for e in entries if e.revoked is None]
        if not fresh:
            return
        self._record(fresh)
        number = revocation.read_own(self.folder / CRL, self.authority.cert).number
        self._sign_crl(number)
        serials = ", ".join(f"{entry.serial:x}" for entry in fresh)
        whoever = "a site refuses" if fresh[0].kind == SERVER else "central refuses"
        self.done.append(
            f"Revoked {fresh[0].name} (serial {serials}): {whoever} it"
            f" once {self.folder / CRL} is there"
        )

    def _sign_crl(self, last_number: int) -> None:
        revoked = [Revocation(e.serial, e.revoked) for e in self.issued if e.revoked]
        # The time as a number grows even if the list before this one is gone.
        number = max(last_number + 1, int(self.now.timestamp()))
        until = self.authority.cert.not_valid_after_utc
        signed = self.authority.revocation_list(revoked, number, self.now, until)
        disk.write_whole(self.folder / CRL, signed)

    def _record(self, entries: Iterable[Issued]) -> None:
        """Put `entries` into the index; one of the same serial gives way."""
        fresh = {entry.serial: entry for entry in entries}
        if fresh:
            self.issued = list(({e.serial: e for e in self.issued} | fresh).values())
            index.save(self.folder, self.issued)

    def _of(self, name: str) -> list[Issued]:
        # Without regard to case, since some file systems have none.
        return [entry for entry in self.issued if entry.name.lower() == name.lower()]

    def _known(self, name: str) -> list[Issued]:
        found = self._of(name)
        if not found:
            raise ConfigError(
                f"There is no certificate named {name!r} in {self.folder}",
                "Run: sockstream certs list",
            )
        return found

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


def listed(folder: Path, now: datetime) -> list[tuple[Issued, bool]]:
    """What is in use, and what is not but has not expired either; and which of the two.

    Changes nothing and needs no private key. What is revoked is what the CRL says.
    Raises ConfigError, OSError.
    """
    cert = authority_of(folder)
    current = {entry.serial: entry for entry in in_use(folder, cert)}
    everything = {entry.serial: entry for entry in index.load(folder)} | current
    revoked = _revoked(folder, cert)
    return [
        (replace(entry, revoked=revoked.get(serial)), serial in current)
        for serial, entry in sorted(everything.items(), key=lambda item: item[1].name)
        if serial in current or entry.not_after > now
    ]


def authority_of(folder: Path) -> x509.Certificate:
    """The certificate of the authority in `folder`. Raises ConfigError if there is none."""
    cert = _certificate(folder / f"{CA}.crt")
    if cert is None:
        raise _no_authority(folder)
    return cert


def is_unfinished(folder: Path) -> bool:
    """Whether something was interrupted that opening the store would finish."""
    revoked = _revoked(folder, authority_of(folder))
    lost = any(e.revoked and e.serial not in revoked for e in index.load(folder))
    return lost or any(folder.glob(f"*{disk.STAGED}"))


def in_use(folder: Path, authority: x509.Certificate) -> Iterator[Issued]:
    """The certificates that lie in `folder` under their names, if `authority` issued them."""
    for path in sorted(folder.glob("*.crt")):
        cert = _certificate(path) if path.stem != CA else None
        entry = Issued.of(path.stem, cert) if cert else None
        if cert and entry and revocation.is_issued_by(cert, authority):
            yield entry


def _make_authority(folder: Path, now: datetime, days: int) -> str:
    pair = Authority.new(now, days)
    disk.check_free(folder, CA)
    disk.stage_pair(folder, CA, pair)
    disk.create_pair(folder, CA)
    until = x509.load_pem_x509_certificate(pair.cert).not_valid_after_utc
    return (
        f"Made the authority {folder / CA}.crt, good until {until:%Y-%m-%d}."
        f" Who has {folder / CA}.key can make any certificate: keep it off the sites"
    )


def _load_authority(folder: Path, now: datetime) -> Authority:
    cert, key = folder / f"{CA}.crt", folder / f"{CA}.key"
    try:
        authority = Authority(Pair(cert.read_bytes(), key.read_bytes()))
    except FileNotFoundError as error:
        if Path(error.filename) == cert:
            raise _no_authority(folder) from error
        raise ConfigError(
            f"{key} is missing: without the authority's key nothing can be signed",
            "Run this where the authority is, or start another one elsewhere with --out",
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{cert} and {key} are not an authority: {error}",
            "Restore them from a backup, or start another authority elsewhere with --out",
        ) from error
    if authority.cert.not_valid_after_utc <= now:
        raise ConfigError(
            f"The authority {cert} expired on {authority.cert.not_valid_after_utc:%Y-%m-%d}",
            "Start another one elsewhere with --out, and make all certificates anew",
        )
    return authority


def _revoked(folder: Path, authority: x509.Certificate) -> Mapping[int, datetime]:
    try:
        return revocation.read_own(folder / CRL, authority).revoked
    except FileNotFoundError:
        return {}


def _certificate(path: Path) -> x509.Certificate | None:
    try:
        cert = x509.load_pem_x509_certificate(path.read_bytes())
        # They are parsed when they are asked for.
        _ = cert.extensions
    except (FileNotFoundError, ValueError):
        return None
    return cert


def _no_authority(folder: Path) -> ConfigError:
    return ConfigError(f"There is no authority in {folder}", "Run: sockstream certs")


def _words(entry: Issued) -> str:
    whose = f"for the site named {entry.name}"
    if entry.kind == SERVER:
        whose = f"for {', '.join(entry.hosts)}"
    return f"a {entry.kind} certificate {whose}, good until {entry.not_after:%Y-%m-%d}"
