"""The inputs that are kept: small files, one folder a target."""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
KEPT_SIZE = 2048


def kept(target: str) -> list[Path]:
    """The files of a target."""
    return sorted((CORPUS / target).iterdir())
