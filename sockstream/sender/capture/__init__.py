"""Capture: turns every committed write into a captured row, in the same transaction."""

from __future__ import annotations

from sockstream.conf import settings
from sockstream.exceptions import ConfigError

from . import signals
from .installing import drift as drift
from .installing import install as install
from .installing import lost as lost
from .installing import remove as remove


def start() -> None:
    """Begin what runs in every process: nothing for triggers, the receivers for signals."""
    try:
        if settings().CAPTURE == "signals":
            signals.listen()
    except ConfigError:
        pass  # Django's checks tell it, and so does every command of ours.
