"""Files that a setting names: each fault is one line with the setting, the path and the mend."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sockstream import tls
from sockstream.exceptions import ConfigError
from tests.unit.chains import Level
from tests.unit.trust import Trust

NOBODY = 65_534


@pytest.fixture
def trust() -> Iterator[Trust]:
    # pytest's own directories are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="sockstream-"))
    folder.chmod(0o755)
    yield Trust(folder)
    shutil.rmtree(folder)


@pytest.fixture
def files(trust: Trust) -> dict[str, Path]:
    cert, key = trust.client()
    return {"CA": trust.ca, "CERT": cert, "KEY": key}


def complaint(files: dict[str, Path | str]) -> str:
    """The one line that the files of a site get."""
    with pytest.raises(ConfigError) as found:
        tls.client_context(files["CA"], files["CERT"], files["KEY"])
    line = str(found.value)
    assert "\n" not in line
    assert found.value.mend
    return line


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Run as a user that may not read everything, as root may."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(user)


def gone(path: Path) -> None:
    path.unlink()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path) -> None:
    path.write_bytes(b"\n")


def no_pem(path: Path) -> None:
    path.write_bytes(b"\x30\x82 binary")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("setting", ["CA", "CERT", "KEY"])
@pytest.mark.parametrize(
    ("break_it", "words", "mend"),
    [
        (gone, "does not exist", "Run: sockstream certs"),
        (directory, "is a directory", "Name the file in it"),
        (empty, "is empty", "Run: sockstream certs"),
        (no_pem, "in PEM form", "Run: sockstream certs"),
        (cut_short, "in PEM form", "Run: sockstream certs"),
    ],
)
def test_a_file_that_is_not_what_it_should_be(
    files: dict[str, Path], setting: str, break_it: Callable[[Path], None], words: str, mend: str
) -> None:
    break_it(files[setting])
    line = complaint({**files})
    assert line.startswith(f'SOCKSTREAM["{setting}"] or --{setting.lower()}: {files[setting]} ')
    assert words in line
    assert line.endswith(f"{mend}.")


@pytest.mark.parametrize("setting", ["CA", "CERT", "KEY"])
def test_a_file_that_may_not_be_read(
    files: dict[str, Path], setting: str, unprivileged: None
) -> None:
    with as_owner():
        for path in files.values():
            path.chmod(0o644)
        files[setting].chmod(0o000)
    line = complaint({**files})
    assert f'SOCKSTREAM["{setting}"]' in line
    assert "may not be read by this user" in line
    assert "chown" in line


def as_owner() -> Owner:
    return Owner()


class Owner:
    """Within it, root is root again."""

    def __enter__(self) -> None:
        self.user = os.geteuid()
        os.seteuid(os.getuid())

    def __exit__(self, *_: object) -> None:
        os.seteuid(self.user)


@pytest.mark.parametrize("setting", ["CA", "CERT", "KEY"])
def test_no_file_at_all(files: dict[str, Path], setting: str) -> None:
    line = complaint({**files, setting: ""})
    assert line == (
        f'SOCKSTREAM["{setting}"] or --{setting.lower()} names no file. Run: sockstream certs.'
    )


def test_a_relative_path_says_from_where(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    line = complaint({**files, "CERT": "certs/site.crt"})
    assert f"certs/site.crt does not exist (seen from {tmp_path})" in line


def test_a_key_of_another_certificate(trust: Trust, files: dict[str, Path]) -> None:
    other = trust.client()[1]
    line = complaint({**files, "KEY": other})
    assert line == (
        f'SOCKSTREAM["KEY"] or --key: {other} is not the key of the certificate {files["CERT"]}.'
        f" Name the key that was made with it, or run: sockstream certs renew site."
    )


def test_another_certificate_before_our_own(files: dict[str, Path], trust: Trust) -> None:
    """For instance that of the intermediate authority that issued ours."""
    files["CERT"].write_bytes(trust.ca.read_bytes() + files["CERT"].read_bytes())
    line = complaint({**files})
    assert f"--cert: {files['CERT']} begins with another certificate than that of the key" in line
    assert "Put this end's own certificate first" in line


@pytest.mark.parametrize("setting", ["CA", "CERT"])
@pytest.mark.parametrize("between", [b"", b"  "])
def test_two_certificates_without_a_line_end_between(
    files: dict[str, Path], setting: str, between: bytes
) -> None:
    one = files[setting].read_bytes()
    files[setting].write_bytes(one.rstrip() + between + one)
    line = complaint({**files})
    assert f"--{setting.lower()}: {files[setting]} has an END and a BEGIN in one line" in line


def test_files_in_der(files: dict[str, Path]) -> None:
    cert = x509.load_pem_x509_certificate(files["CERT"].read_bytes())
    key = load_pem_private_key(files["KEY"].read_bytes(), None)
    encoded = {
        "CA": x509.load_pem_x509_certificate(files["CA"].read_bytes()).public_bytes(Encoding.DER),
        "CERT": cert.public_bytes(Encoding.DER),
        "KEY": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    }
    for setting, content in encoded.items():
        kept = files[setting].read_bytes()
        files[setting].write_bytes(content)
        line = complaint({**files})
        assert f"{files[setting]} is in DER form" in line
        tool = "pkey" if setting == "KEY" else "x509"
        assert f"Run: openssl {tool} -inform DER -in {files[setting]} -out FILE" in line
        files[setting].write_bytes(kept)


def test_a_key_that_openssl_takes_for_too_small(tmp_path: Path) -> None:
    root = Level.root()
    leaf = root.site()
    leaf.key = rsa.generate_private_key(65_537, 1_024)
    cert, key = leaf.resigned().write(tmp_path, "site")
    (tmp_path / "ca.crt").write_bytes(root.pem)
    with pytest.raises(ConfigError) as found:
        tls.client_context(tmp_path / "ca.crt", cert, key)
    assert f"--cert: {cert} has a key that is too small" in str(found.value)
    assert "RSA of 2048 bits" in found.value.mend


def test_the_mend_fits_a_certificate_of_another_authority(tmp_path: Path) -> None:
    root = Level.root()
    cert, key = root.site().write(tmp_path, "tls")
    other = root.site().write(tmp_path, "other")[1]
    (tmp_path / "ca.crt").write_bytes(root.pem)
    lines = [complaint({"CA": tmp_path / "ca.crt", "CERT": cert, "KEY": other})]
    with pytest.raises(ConfigError) as found:
        tls.server_context(tmp_path / "ca.crt", cert, key)
    lines.append(str(found.value))
    assert "is not the key of the certificate" in lines[0]
    assert "Ask your authority for one with the extended key usage serverAuth" in lines[1]
    assert not any("sockstream certs" in line for line in lines)


def test_a_key_that_is_locked(files: dict[str, Path]) -> None:
    key = load_pem_private_key(files["KEY"].read_bytes(), None)
    locked = BestAvailableEncryption(b"secret")
    files["KEY"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    line = complaint({**files})
    assert "is locked with a password" in line
    assert "openssl pkey" in line


def test_a_site_s_certificate_is_no_authority(files: dict[str, Path]) -> None:
    line = complaint({**files, "CA": files["CERT"]})
    assert line.startswith('SOCKSTREAM["CA"] or --ca: ')
    assert "is not an authority's certificate" in line


def test_an_authority_may_be_several(trust: Trust, files: dict[str, Path], tmp_path: Path) -> None:
    both = tmp_path / "ca.crt"
    both.write_bytes(trust.ca.read_bytes() + Trust(tmp_path / "next").ca.read_bytes())
    context = tls.client_context(both, files["CERT"], files["KEY"])
    assert len(context.get_ca_certs()) == 2


def test_our_own_end_of_validity_names_the_file_too(files: dict[str, Path]) -> None:
    files["CERT"].unlink()
    with pytest.raises(ConfigError, match=r'SOCKSTREAM\["CERT"\] or --cert: .* does not exist'):
        tls.read_own(files["CERT"])
