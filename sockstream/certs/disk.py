"""Files that are there whole or not at all, and pairs of them that belong together.

A certificate and its key are two files, and no file system renames two at once. So both are
staged beside their places first; once they are whole, the key is put in its place, and then the
certificate. After a crash, `recover` goes on from there if what is staged is whole, by itself or
with the half that is in place, and else throws it away: both files are new, or both are old.
Whoever reads them in between finds with `half_of` what is in place already, and looks again if
the files were written meanwhile.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from sockstream.exceptions import ConfigError

from .authority import Pair

STAGED = ".sockstream-new"
PRIVATE = 0o600
PUBLIC = 0o644


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make `folder` if need be, and hold it alone. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, data: bytes) -> None:
    """Put a public file in the place of whatever is there. Raises OSError."""
    staged = _stage(path, data, PUBLIC)
    staged.replace(path)
    _sync(path.parent)


def check_free(folder: Path, name: str) -> None:
    """Check that neither NAME.key nor NAME.crt is there. Raises ConfigError."""
    for path in (folder / f"{name}.key", folder / f"{name}.crt"):
        if os.path.lexists(path):
            raise _in_the_way(path)


def stage_pair(folder: Path, name: str, pair: Pair) -> None:
    """Write both halves beside their places; now `recover` would finish. Raises OSError."""
    staged_key = _stage(folder / f"{name}.key", pair.key, PRIVATE)
    try:
        _stage(folder / f"{name}.crt", pair.cert, PUBLIC)
    except OSError:
        staged_key.unlink()
        raise
    _sync(folder)


def create_pair(folder: Path, name: str) -> None:
    """Make NAME.key and NAME.crt of what is staged.

    Raises ConfigError if one of them is there already, OSError.
    """
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    try:
        _move_new(key)
        try:
            _move_new(cert)
        except FileExistsError:
            key.unlink()
            raise
    except FileExistsError as error:
        for path in (key, cert):
            _staged(path).unlink(missing_ok=True)
        raise _in_the_way(Path(error.filename2)) from error
    _sync(folder)


def replace_pair(folder: Path, name: str) -> None:
    """Put what is staged in the place of NAME.key and NAME.crt. Raises OSError."""
    for path in (folder / f"{name}.key", folder / f"{name}.crt"):
        _staged(path).replace(path)
    _sync(folder)


def recover(folder: Path) -> list[str]:
    """Finish or undo what a crash has interrupted; the names whose pairs were finished.

    Only under the lock: the staged files of somebody else would look like those of a crash.
    """
    staged = sorted(folder.glob(f"*{STAGED}"))
    names = dict.fromkeys(path.name.removesuffix(STAGED).rpartition(".")[0] for path in staged)
    finished = [name for name in names if _finish(folder, name)]
    for path in staged:
        path.unlink(missing_ok=True)
    return finished


def belong_together(cert: Path, key: Path) -> bool:
    """Whether both files are there, parse, and hold the two halves of one key."""
    try:
        public = x509.load_pem_x509_certificate(cert.read_bytes()).public_key()
        private = load_pem_private_key(key.read_bytes(), password=None).public_key()
    except (FileNotFoundError, ValueError, TypeError):
        return False
    encodings = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public.public_bytes(*encodings) == private.public_bytes(*encodings)


def half_of(cert: Path, key: Path) -> Path | None:
    """Where the certificate of `key` is: in its place, or staged beside it; None if nowhere."""
    places = (cert, _staged(cert))
    return next((place for place in places if belong_together(place, key)), None)


def _finish(folder: Path, name: str) -> bool:
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    whole = belong_together(_staged(cert), _staged(key))
    if whole and (belong_together(cert, key) or not os.path.lexists(key)):
        replace_pair(folder, name)
    elif belong_together(_staged(cert), key):
        _staged(cert).replace(cert)
    elif belong_together(cert, _staged(key)):
        _staged(key).replace(key)
    else:
        return False
    _sync(folder)
    return True


def _stage(path: Path, data: bytes, mode: int) -> Path:
    """Write a file beside `path`. It belongs to whom the file in `path` belongs to."""
    staged = _staged(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(staged, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _give_to_owner_of(path, file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            staged.unlink()
        raise
    return staged


def _give_to_owner_of(path: Path, descriptor: int) -> None:
    # Root renews the key of a service that runs as somebody else.
    with suppress(FileNotFoundError):
        before = path.stat()
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, before.st_uid, before.st_gid)


def _move_new(path: Path) -> None:
    # A hard link, since a rename would silently replace a file that appeared in the meantime.
    path.hardlink_to(_staged(path))
    _staged(path).unlink()


def _staged(path: Path) -> Path:
    return path.with_name(path.name + STAGED)


def _in_the_way(path: Path) -> ConfigError:
    return ConfigError(f"{path} is there already", "Move it away; keys are never overwritten")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
