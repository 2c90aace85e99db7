"""Certificate files that cannot be used: neither end starts, and says which file and why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ends import End
from tests.faults.bad_input.ends import CENTRAL, Receiver, World, refusal_of
from tests.faults.bad_input.papers import Papers

GARBAGE = "not a certificate\n"
# Root reads whatever it likes, unless these are taken away.
WITHOUT_POWERS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def both_ends(world: World, setting: str, file: Path) -> list[End]:
    """Either end with this file where `setting` names one."""
    wrong = {setting: str(file)}
    return [
        world.sender(settings=wrong, once=False),
        Receiver(CENTRAL, world.certificates, settings=wrong),
    ]


def missing(file: Path) -> None:
    """There is none."""


def empty(file: Path) -> None:
    file.touch()


def garbage(file: Path) -> None:
    file.write_text(GARBAGE)


def directory(file: Path) -> None:
    file.mkdir()


SPOILT: dict[Callable[[Path], None], str] = {
    missing: "does not exist. Run: sockstream certs.",
    empty: "is empty. Run: sockstream certs.",
    garbage: " in PEM form. Run: sockstream certs.",
    directory: "is a directory. Name the file in it.",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("setting", ["CA", "CERT", "KEY"])
def test_spoilt_files(
    world: World, tmp_path: Path, setting: str, spoil: Callable[[Path], None]
) -> None:
    file = tmp_path / "file.pem"
    spoil(file)
    for end in both_ends(world, setting, file):
        said = refusal_of(end)
        assert said.startswith(f'SOCKSTREAM["{setting}"] or --{setting.lower()}: {file} ')
        assert said.endswith(SPOILT[spoil])


@pytest.mark.parametrize("setting", ["CA", "CERT", "KEY"])
def test_files_of_somebody_else(world: World, tmp_path: Path, setting: str) -> None:
    file = tmp_path / "file.pem"
    file.touch(mode=0)
    for end in both_ends(world, setting, file):
        if os.geteuid() == 0:
            if shutil.which(WITHOUT_POWERS[0]) is None:
                pytest.skip("root reads everything, and there is no setpriv here")
            end.launcher = WITHOUT_POWERS
        said = refusal_of(end)
        assert said == (
            f'SOCKSTREAM["{setting}"] or --{setting.lower()}: {file} may not be read by this user.'
            " Let the user that runs this read it (chown, chmod 600)."
        )


@pytest.mark.parametrize("name", ["site", "localhost"])
def test_a_key_of_another_certificate(world: World, papers: Papers, name: str) -> None:
    wrong = {**papers.of(name), "KEY": papers.of("other")["KEY"]}
    end: End = world.sender(settings=wrong)
    if name == "localhost":
        end = Receiver(CENTRAL, world.certificates, settings=wrong)
    said = refusal_of(end)
    assert f"{wrong['KEY']} is not the key of the certificate {wrong['CERT']}. Name the key" in said
    assert said.endswith(f"or run: sockstream certs renew {name}.")


def test_an_authority_that_is_none(world: World, papers: Papers) -> None:
    for end in both_ends(world, "CA", Path(papers.of("site")["CERT"])):
        assert refusal_of(end).endswith("is not an authority's certificate. Name the file ca.crt.")
