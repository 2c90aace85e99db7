"""The wheel: built from this tree, opened, read."""

from __future__ import annotations

import email.message
import email.parser
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import sockstream

ROOT = Path(__file__).resolve().parents[2]
DIST_INFO = f"sockstream-{sockstream.__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """What `pip install` would install."""
    folder = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.iterdir()
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    """The name, version, dependencies and so on."""
    text = wheel.read(f"{DIST_INFO}/METADATA").decode()
    return email.parser.Parser().parsestr(text)


def test_it_holds_sockstream_alone(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"sockstream", DIST_INFO}


def test_it_holds_every_module(wheel: zipfile.ZipFile) -> None:
    source = ROOT / "sockstream"
    modules = {str(path.relative_to(ROOT)) for path in source.rglob("*.py")}
    assert modules <= set(wheel.namelist())


def test_it_holds_nothing_but_what_the_library_needs(wheel: zipfile.ZipFile) -> None:
    kinds = {".py", ".typed", ".sql", ".html"}
    files = [name for name in wheel.namelist() if name.startswith("sockstream/")]
    assert not [name for name in files if Path(name).suffix not in kinds]
    assert not [name for name in files if "test" in Path(name).name]


def test_its_types_are_for_everybody(wheel: zipfile.ZipFile) -> None:
    assert "sockstream/py.typed" in wheel.namelist()


def test_it_says_what_it_is(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "sockstream"
    assert metadata["Version"] == sockstream.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_it_asks_for_little(metadata: email.message.Message) -> None:
    """Four libraries, and a fifth on Linux; everything else is an extra."""
    lines = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    needed = [line for line in lines if "extra" not in str(line.marker)]
    assert {line.name.lower() for line in needed if line.marker is None} == {
        "cryptography",
        "django",
        "msgpack",
        "rich",
    }
    assert {line.name for line in needed if line.marker is not None} == {"inotify-simple"}
    extras = set(metadata.get_all("Provides-Extra") or [])
    assert extras == {"postgres", "mysql", "test", "app", "fuzz", "bench", "dev"}


def test_its_command_can_be_called(wheel: zipfile.ZipFile) -> None:
    points = wheel.read(f"{DIST_INFO}/entry_points.txt").decode()
    assert "[console_scripts]\nsockstream = sockstream.cli:main" in points


def test_the_classifiers_name_the_pythons_of_the_matrix() -> None:
    from tests.matrix import DJANGOS, PYTHONS

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classifiers = set(project["classifiers"])
    for python in PYTHONS:
        assert f"Programming Language :: Python :: {python}" in classifiers
    for django in DJANGOS:
        assert f"Framework :: Django :: {django}" in classifiers


def test_it_carries_its_licence(wheel: zipfile.ZipFile) -> None:
    licence = wheel.read(f"{DIST_INFO}/licenses/LICENSE").decode()
    assert "The sockstream authors" in licence
