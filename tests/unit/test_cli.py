"""The command `sockstream`: what it prints, and that errors are one line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sockstream import __version__, cli
from sockstream.certs.index import load
from tests.unit.trust import serial_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory."""
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that goes well prints."""
    assert cli.main(["certs", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def complained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that fails."""
    assert cli.main(["certs", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sockstream: ")
    assert err.count("\n") == 1
    return err


def undated(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d", "DATE", text)


def test_alone_it_makes_all_that_two_ends_on_one_machine_need(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert undated(said(capsys)).splitlines() == [
        "Made the authority certs/ca.crt, good until DATE."
        " Who has certs/ca.key can make any certificate: keep it off the sites.",
        "Made certs/crl.pem, the list of revoked certificates.",
        "Made certs/localhost.crt and .key, a server certificate for localhost, 127.0.0.1, ::1,"
        " good until DATE.",
        "Made certs/site.crt and .key, a client certificate for the site named site,"
        " good until DATE.",
    ]
    assert said(capsys) == "Nothing to do: all of it is in certs already.\n"


def test_each_action(capsys: pytest.CaptureFixture[str]) -> None:
    central = said(capsys, "server", "central.example.org", "192.0.2.7", "--out", "pki")
    assert "Made the authority pki/ca.crt" in central
    assert "a server certificate for central.example.org, 192.0.2.7" in central
    assert said(capsys, "--out", "pki", "client", "site-a", "--days", "7").count("\n") == 1
    first = serial_of(Path("pki/site-a.crt"))
    renewed = said(capsys, "renew", "site-a", "--out", "pki")
    assert renewed.startswith("Renewed pki/site-a.crt and .key, a client certificate")
    second = serial_of(Path("pki/site-a.crt"))
    assert said(capsys, "revoke", "site-a", "--out", "pki") == (
        f"Revoked site-a (serial {first:x}, {second:x}):"
        " central refuses it once pki/crl.pem is there.\n"
    )
    central = said(capsys, "revoke", "central.example.org", "--out", "pki")
    assert central.endswith(": a site refuses it once pki/crl.pem is there.\n")
    again = said(capsys, "revoke", "site-a", "--out", "pki")
    assert again == "Nothing to do: site-a is revoked already.\n"


def test_list_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys)
    said(capsys, "revoke", "site")
    said(capsys, "renew", "site", "--days", "90")
    lines = [line.split() for line in undated(said(capsys, "list")).splitlines()]
    old, new = (entry for entry in load(Path("certs")) if entry.name == "site")
    assert lines[0] == ["NAME", "KIND", "SERIAL", "EXPIRES", "REVOKED", "NOTE"]
    assert lines[1][:2] == ["ca", "authority"]
    assert lines[2][:2] == ["localhost", "server"]
    assert lines[3] == ["site", "client", f"{old.serial:x}", "DATE", "DATE", "not", "here"]
    assert lines[4] == ["site", "client", f"{new.serial:x}", "DATE", "-"]


def test_list_tells_of_an_interrupted_change(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys)
    Path("certs/site.key.sockstream-new").write_bytes(b"half of")
    hint = "An earlier change was interrupted. This finishes it: sockstream certs"
    assert said(capsys, "list").splitlines()[-1] == hint
    said(capsys)
    assert hint not in said(capsys, "list")


def test_list_works_where_the_authority_s_key_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys)
    for path in ("ca.key", "crl.pem", "issued.json", "localhost.crt", "localhost.key"):
        (Path("certs") / path).unlink()
    names = [line.split()[0] for line in said(capsys, "list").splitlines()]
    assert names == ["NAME", "ca", "site"]
    line = complained(capsys, "client", "site-b")
    assert "certs/ca.key is missing" in line
    assert "Run this where the authority is" in line


@pytest.mark.parametrize("action", [["list"], ["renew", "site"], ["revoke", "site"]])
def test_without_an_authority(capsys: pytest.CaptureFixture[str], action: list[str]) -> None:
    assert complained(capsys, *action) == (
        "sockstream: There is no authority in certs. Run: sockstream certs.\n"
    )
    assert not Path("certs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["client", "../site"], "cannot be a certificate's"),
        (["client", "x" * 65], "has 65 characters"),
        (["client", "ca"], "is kept for the authority's own files"),
        (["server", "central:9000"], "neither a DNS name nor an IP address"),
        (["server", "::1"], "Put a plain name first: sockstream certs server central ::1"),
    ],
)
def test_bad_names(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert words in complained(capsys, *arguments)


def test_a_folder_that_is_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("certs").write_bytes(b"")
    line = complained(capsys)
    assert line.startswith("sockstream: certs: ")
    assert "--out" in line


@pytest.mark.parametrize("days", ["0", "-1", "x", "1.5", "36501", "٣"])
def test_days_that_are_none(capsys: pytest.CaptureFixture[str], days: str) -> None:
    with pytest.raises(SystemExit) as found:
        cli.main(["certs", f"--days={days}"])
    assert found.value.code == 2
    assert "is not a number of days from 1 to 36500" in capsys.readouterr().err
    assert not Path("certs").exists()


def test_it_runs_as_a_module_without_django() -> None:
    program = (
        "import runpy, sys; sys.argv = ['sockstream', 'certs']\n"
        "try: runpy.run_module('sockstream', run_name='__main__')\n"
        "except SystemExit as exit: assert not exit.code\n"
        "import sockstream.tls\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'django'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert Path("certs/site.key").exists()


def test_version_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as found:
        cli.main(["--version"])
    assert found.value.code == 0
    assert capsys.readouterr().out == f"sockstream {__version__}\n"
    with pytest.raises(SystemExit) as found:
        cli.main([])
    assert found.value.code == 2
