"""The folder: what is made, kept, renewed and revoked, and that a crash leaves no half of it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sockstream import tls
from sockstream.certs import disk, files, index, revocation, store
from sockstream.exceptions import ConfigError, SockstreamError
from tests.unit.certs import crashes, renewals
from tests.unit.certs.crashes import NOW
from tests.unit.trust import serial_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


@pytest.fixture
def plain(folder: Path) -> Path:
    """A folder with the plain set in it."""
    with opened(folder, days=30) as at:
        at.make_plain(30)
    return folder


@contextmanager
def opened(folder: Path, *, now: datetime = NOW, days: int | None = None) -> Iterator[store.Store]:
    with store.opened(folder, now, days=days) as at:
        yield at


def revoked_in(folder: Path) -> set[int]:
    """The serials on the CRL."""
    return set(revocation.read_own(folder / "crl.pem", store.authority_of(folder)).revoked)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_plain_set(plain: Path) -> None:
    assert set(contents(plain)) == {
        ".lock", "ca.crt", "ca.key", "crl.pem", "issued.json",
        "localhost.crt", "localhost.key", "site.crt", "site.key",
    }  # fmt: skip
    assert revoked_in(plain) == set()
    assert [(entry.name, entry.kind, entry.hosts, current) for entry, current in listed(plain)] == [
        ("localhost", "server", ("localhost", "127.0.0.1", "::1"), True),
        ("site", "client", (), True),
    ]
    for name, kind in (("localhost", "server"), ("site", "client")):
        files.read_pair(plain / f"{name}.crt", plain / f"{name}.key", kind)


def listed(folder: Path, now: datetime = NOW) -> list[tuple[index.Issued, bool]]:
    return store.listed(folder, now)


def test_a_second_time_changes_nothing(plain: Path) -> None:
    before = contents(plain)
    with opened(plain, now=NOW + timedelta(days=400), days=30) as at:
        at.make_plain(30)
        at.client("site", 30)
        at.server(["localhost", "127.0.0.1", "::1"], 30)
        assert at.done == []
    assert contents(plain) == before


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_keys_are_their_owner_s_alone(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with opened(folder, days=30) as at:
            at.make_plain(30)
            at.client("site-a", 30)
            at.renew("site", 30)
    finally:
        os.umask(before)
    keys = sorted(folder.glob("*.key"))
    assert len(keys) == 4
    assert {mode(key) for key in keys} == {0o600}
    assert mode(folder / "site.crt") == 0o644 & ~umask


def test_a_key_is_never_readable_by_others_not_even_for_a_moment(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.extend((path.name, mode(path)) for path in plain.glob("*.key*"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with opened(plain) as at:
        at.renew("site", 30)
        at.client("site-a", 30)
    assert {found for _, found in seen} == {0o600}
    assert any(name.endswith(disk.STAGED) for name, _ in seen)


@pytest.mark.parametrize("name", ["site-a.key", "site-a.crt"])
def test_a_file_in_the_way_is_left_alone(plain: Path, name: str) -> None:
    (plain / name).write_bytes(b"precious")
    before = contents(plain).keys()
    with opened(plain) as at, pytest.raises(ConfigError, match=f"{name} is there already"):
        at.client("site-a", 30)
    assert (plain / name).read_bytes() == b"precious"
    assert contents(plain).keys() == before
    (plain / name).unlink()
    with opened(plain) as at:
        at.client("site-a", 30)
    files.read_pair(plain / "site-a.crt", plain / "site-a.key", "client")


@pytest.mark.parametrize("name", ["site-a.key", "site-a.crt"])
def test_a_file_that_comes_in_the_way_at_the_last_moment_is_left_alone(
    plain: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = disk.create_pair

    def create(*given: Any) -> None:
        (plain / name).write_bytes(b"precious")
        real(*given)

    monkeypatch.setattr(disk, "create_pair", create)
    with opened(plain) as at, pytest.raises(ConfigError, match=f"{name} is there already"):
        at.client("site-a", 30)
    assert (plain / name).read_bytes() == b"precious"
    assert [path.name for path in plain.glob("site-a*")] == [name]


def test_an_authority_s_key_in_the_way_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "ca.key").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"ca\.key is there already"), opened(folder, days=30):
        pass
    assert (folder / "ca.key").read_bytes() == b"precious"


def test_an_authority_without_its_key_signs_nothing(plain: Path) -> None:
    (plain / "ca.key").unlink()
    with pytest.raises(ConfigError, match=r"ca\.key is missing"), opened(plain, days=30):
        pass
    assert len(listed(plain)) == 2


def test_halves_of_two_authorities_sign_nothing(plain: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "other", days=30):
        pass
    shutil.copy(tmp_path / "other" / "ca.key", plain / "ca.key")
    with pytest.raises(ConfigError, match="are not an authority"), opened(plain):
        pass


def test_an_expired_authority_signs_nothing(plain: Path) -> None:
    late = NOW + timedelta(days=3651)
    with pytest.raises(ConfigError, match="expired on"), opened(plain, now=late):
        pass


def test_an_authority_lives_as_long_as_what_is_asked_of_it(folder: Path) -> None:
    with opened(folder, days=5000) as at:
        at.client("site-a", 5000)
    [(entry, _)] = listed(folder)
    assert entry.not_after == NOW + timedelta(days=5000)


def test_where_there_is_no_authority_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "notes.new").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="There is no authority in"), opened(tmp_path):
        pass
    with pytest.raises(ConfigError, match="There is no authority in"):
        store.listed(tmp_path, NOW)
    assert contents(tmp_path) == {"notes.new": b"mine"}


def test_a_name_is_taken_once(plain: Path) -> None:
    with opened(plain) as at:
        for kind, name in (("client", "localhost"), ("client", "SITE"), ("server", "site")):
            with pytest.raises(ConfigError, match="is taken by"):
                at.client(name, 30) if kind == "client" else at.server([name], 30)
        with pytest.raises(
            ConfigError, match=r"is taken by a server certificate for localhost, 127"
        ):
            at.server(["localhost"], 30)


def test_what_was_made_and_moved_away_is_made_anew_only_by_renew(plain: Path) -> None:
    (plain / "site.key").unlink()
    with opened(plain, days=30) as at:
        at.make_plain(30)
        assert at.done == []
        with pytest.raises(ConfigError) as found:
            at.client("site", 30)
        assert "its files are not here" in found.value.words
        assert found.value.mend == "Run: sockstream certs renew site"
        at.renew("site", 30)
    files.read_pair(plain / "site.crt", plain / "site.key", "client")


def test_renew_makes_a_new_key_and_leaves_the_old_serial_good(plain: Path) -> None:
    old, old_key = serial_of(plain / "site.crt"), (plain / "site.key").read_bytes()
    with opened(plain) as at:
        at.renew("site", 90)
    assert (plain / "site.key").read_bytes() != old_key
    files.read_pair(plain / "site.crt", plain / "site.key", "client")
    assert [(entry.serial, current) for entry, current in listed(plain)][1:] == [
        (old, False),
        (serial_of(plain / "site.crt"), True),
    ]
    assert revoked_in(plain) == set()


def test_renew_revokes_what_was_before_if_asked(plain: Path) -> None:
    first = serial_of(plain / "site.crt")
    with opened(plain) as at:
        at.renew("site", 30)
    second = serial_of(plain / "site.crt")
    with opened(plain) as at:
        at.renew("site", 30, revoke_old=True)
    assert revoked_in(plain) == {first, second}


def test_renew_keeps_kind_and_hosts(plain: Path) -> None:
    with opened(plain) as at:
        at.server(["central.example.org", "192.0.2.7"], 30)
        at.renew("central.example.org", 30)
    entries = [entry for entry, _ in listed(plain) if entry.name == "central.example.org"]
    assert [entry.hosts for entry in entries] == [("central.example.org", "192.0.2.7")] * 2
    files.read_pair(plain / "central.example.org.crt", plain / "central.example.org.key", "server")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_renew_leaves_the_files_to_their_owner(plain: Path) -> None:
    for name in ("site.key", "site.crt"):
        os.chown(plain / name, 65_534, 65_534)
    with opened(plain) as at:
        at.renew("site", 30)
    for name in ("site.key", "site.crt"):
        assert (plain / name).stat().st_uid == 65_534
    assert mode(plain / "site.key") == 0o600


def test_revoke_reaches_every_certificate_of_a_name(plain: Path) -> None:
    serials = {serial_of(plain / "site.crt")}
    for _ in range(2):
        with opened(plain) as at:
            at.renew("site", 30)
        serials.add(serial_of(plain / "site.crt"))
    with opened(plain) as at:
        at.revoke("site")
    assert len(serials) == 3
    assert revoked_in(plain) == serials
    assert {entry.serial for entry, _ in listed(plain) if entry.revoked} == serials


def test_revoke_twice_changes_nothing(plain: Path) -> None:
    with opened(plain) as at:
        at.revoke("site")
    before = contents(plain)
    with opened(plain, now=NOW + timedelta(days=1)) as at:
        at.revoke("site")
        assert at.done == []
    assert contents(plain) == before


def test_a_revoked_name_is_made_anew_only_by_renew(plain: Path) -> None:
    with opened(plain) as at:
        at.revoke("site")
        with pytest.raises(ConfigError, match="was revoked") as found:
            at.client("site", 30)
        assert found.value.mend == "Run: sockstream certs renew site"
    for name in ("site.crt", "site.key"):
        (plain / name).unlink()
    with opened(plain, days=30) as at:
        at.make_plain(30)
        assert not (plain / "site.crt").exists()
        with pytest.raises(ConfigError, match="was revoked"):
            at.client("site", 30)
        at.renew("site", 30)
    assert serial_of(plain / "site.crt") not in revoked_in(plain)
    assert len(revoked_in(plain)) == 1


def test_a_certificate_that_the_index_lacks_is_reached_all_the_same(plain: Path) -> None:
    serial = serial_of(plain / "site.crt")
    (plain / "issued.json").unlink()
    with opened(plain) as at:
        at.revoke("site")
    assert revoked_in(plain) == {serial}


def test_certificates_of_others_are_none_of_ours(plain: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "other", days=30) as at:
        at.client("foreign", 30)
    shutil.copy(tmp_path / "other" / "foreign.crt", plain)
    (plain / "junk.crt").write_bytes(b"junk")
    with opened(plain) as at, pytest.raises(ConfigError, match="no certificate named 'foreign'"):
        at.revoke("foreign")
    assert {entry.name for entry, _ in listed(plain)} == {"localhost", "site"}


@pytest.mark.parametrize("name", ["nobody", "../site", "ca"])
def test_names_that_nobody_has(plain: Path, name: str) -> None:
    with opened(plain) as at:
        for call in (at.revoke, lambda name: at.renew(name, 30)):
            with pytest.raises(ConfigError, match="There is no certificate named"):
                call(name)


def test_a_lost_list_is_made_again_with_everybody_on_it(plain: Path) -> None:
    with opened(plain) as at:
        at.revoke("site")
    before = revoked_in(plain)
    (plain / "crl.pem").unlink()
    with opened(plain, days=30):
        pass
    assert revoked_in(plain) == before != set()


def test_a_lost_index_forgives_nobody(plain: Path) -> None:
    with opened(plain) as at:
        at.revoke("site")
    before = revoked_in(plain)
    (plain / "issued.json").unlink()
    with opened(plain) as at:
        at.revoke("localhost")
    assert revoked_in(plain) == before | {serial_of(plain / "localhost.crt")}


def test_an_expired_list_is_renewed(plain: Path) -> None:
    with opened(plain) as at:
        at.revoke("site")
        authority = at.authority
    before = revocation.read_own(plain / "crl.pem", authority.cert)
    until = NOW + timedelta(days=1)
    short = authority.revocation_list([], before.number, NOW, until)
    (plain / "crl.pem").write_bytes(short)
    with opened(plain, now=NOW + timedelta(days=2), days=30):
        pass
    after = revocation.read_own(plain / "crl.pem", authority.cert)
    assert after.next_update > until
    assert after.number > before.number
    assert after.revoked == before.revoked


def test_a_list_of_somebody_else_is_not_overwritten(plain: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "other", days=30):
        pass
    shutil.copy(tmp_path / "other" / "crl.pem", plain / "crl.pem")
    before = contents(plain)
    with pytest.raises(SockstreamError, match="no authority of ours has signed it"), opened(plain):
        pass
    assert contents(plain) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', '{"version": 1}'])
def test_a_damaged_index_stops_everything(plain: Path, content: str) -> None:
    (plain / "issued.json").write_text(content)
    with pytest.raises(ConfigError, match="cannot be understood"), opened(plain):
        pass


def test_what_has_expired_and_is_not_in_use_is_not_listed(plain: Path) -> None:
    with opened(plain) as at:
        at.renew("site", 90)
    names = [entry.name for entry, _ in listed(plain, NOW + timedelta(days=40))]
    assert names == ["localhost", "site"]


def test_a_full_disk_leaves_the_old_pair(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: data for name, data in contents(plain).items() if name.startswith("site.")}

    def full(descriptor: int) -> None:
        if "site.crt" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with opened(plain) as at, pytest.raises(OSError, match="No space left"):
        at.renew("site", 30)
    assert {name: data for name, data in contents(plain).items() if "site." in name} == before


def test_a_pair_can_be_used_at_each_moment_of_its_renewal(plain: Path) -> None:
    command = [sys.executable, "-m", renewals.__name__, str(plain)]
    read = 0
    with subprocess.Popen(command, cwd=ROOT) as renewing:
        while renewing.poll() is None:
            tls.client_context(plain / "ca.crt", plain / "site.crt", plain / "site.key")
            read += 1
    assert renewing.returncode == 0
    assert read > renewals.COUNT


@pytest.mark.parametrize("action", ["make", "renew", "revoke"])
def test_a_crash_at_any_point_is_mended_by_the_next_run(
    action: str, plain: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "nothing" if action == "make" else plain
    places = tmp_path / "places"
    command = [sys.executable, "-m", crashes.__name__, str(folder), action, str(places)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    halves = [check_after_crash(place) for place in places.iterdir()]
    assert len(halves) > 8
    assert any(halves) == (action == "renew")


def check_after_crash(folder: Path) -> bool:
    """Whether a pair was found in halves; that it can be used, and that the next run mends all."""
    cert, key = folder / "site.crt", folder / "site.key"
    halves = cert.exists() and not disk.belong_together(cert, key)
    if halves:
        assert store.is_unfinished(folder)
        assert files.read_pair(cert, key, "client") != cert
        tls.client_context(folder / "ca.crt", cert, key)
    with opened(folder, days=30) as at:
        at.make_plain(30)
        recorded = {entry.serial: entry for entry in at.issued}
    for name in ("ca", "localhost", "site"):
        assert disk.belong_together(folder / f"{name}.crt", folder / f"{name}.key")
        assert mode(folder / f"{name}.key") == 0o600
    assert serial_of(cert) in recorded
    assert {serial for serial, entry in recorded.items() if entry.revoked} == revoked_in(folder)
    assert not store.is_unfinished(folder)
    return halves


def test_many_at_once_make_one_set(folder: Path) -> None:
    command = [sys.executable, "-m", "sockstream", "certs", "--out", str(folder)]
    together = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = [process.communicate(timeout=60)[0] for process in together]
    assert [process.returncode for process in together] == [0] * 4
    assert sorted(line.split()[0] for line in said) == ["Made", "Nothing", "Nothing", "Nothing"]
    assert [entry.name for entry, _ in listed(folder)] == ["localhost", "site"]
    assert len(index.load(folder)) == 2


def test_the_index_survives_a_round(plain: Path) -> None:
    with opened(plain) as at:
        at.revoke("site")
        assert index.load(plain) == at.issued
    cert = x509.load_pem_x509_certificate((plain / "localhost.crt").read_bytes())
    assert index.Issued.of("localhost", cert) in index.load(plain)
