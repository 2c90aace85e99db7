"""Where the SOCKSTREAM setting is declared, typed and read: at use, never at import."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings

from .exceptions import ConfigError

CAPTURE_WAYS = ("triggers", "signals")
ERROR_WAYS = ("stop", "park")


@dataclass(frozen=True)
class Settings:
    """Every key of SOCKSTREAM with its default. Sizes are bytes, times are seconds unless typed."""

    MODELS: tuple[str, ...] = ()
    EXCLUDE: tuple[str, ...] = ()
    SHARED: tuple[str, ...] = ()
    ADOPT: bool = False
    CA: str = ""
    CERT: str = ""
    KEY: str = ""
    CRL: str = ""
    CRL_STRICT: bool = False
    CAPTURE: str = "triggers"
    FORWARD: bool = False
    BATCH_RECORDS: int = 1_000
    BATCH_BYTES: int = 1 << 20
    GROUP_RECORDS: int = 100_000
    MAX_RECORD: int = 15 << 20
    RETENTION: timedelta = timedelta(days=7)
    OPLOG_MAX_BYTES: int = 10 << 30
    COMPRESS: bool = True
    WINDOW: int = 8 << 20
    WINDOW_TOTAL: int = 256 << 20
    MAX_FRAME: int = 16 << 20
    HEARTBEAT: float = 10.0
    HANDSHAKE_TIMEOUT: float = 10.0
    CONNECT_TIMEOUT: float = 10.0
    BACKOFF_MAX: float = 60.0
    POLL: float = 0.02
    CONNECTIONS: int = 10_000
    HANDSHAKES: int = 1_000
    STREAMS: int = 8
    APPLIERS: int = 4
    COMMIT_RECORDS: int = 20_000
    COMMIT_BYTES: int = 4 << 20
    STAGED_MAX: int = 4 << 30
    STUCK_AFTER: float = 60.0
    RECHECK: float = 60.0
    SESSION_MAX: float = 86_400.0
    ON_ERROR: str = "stop"
    PARKED_MAX: int = 10_000
    EXPIRY_WARNING: timedelta = timedelta(days=30)


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "timedelta": (timedelta,),
}


def settings() -> Settings:
    """The SOCKSTREAM setting as it is now.

    Raises ConfigError for an unknown key (with the nearest known one), or a value of a wrong type.
    """
    given = getattr(django_settings, "SOCKSTREAM", None)
    if given is None:
        raise ConfigError(
            "The setting SOCKSTREAM is missing",
            'Add SOCKSTREAM = {"MODELS": ["your_app"]} to the Django settings',
        )
    if not isinstance(given, Mapping):
        raise ConfigError("The setting SOCKSTREAM must be a dict", "See docs/settings.md")
    kinds = {field.name: str(field.type) for field in fields(Settings)}
    values = {key: _checked(str(key), value, kinds) for key, value in given.items()}
    checked = Settings(**values)
    if checked.CAPTURE not in CAPTURE_WAYS:
        raise ConfigError(
            f'SOCKSTREAM["CAPTURE"] is {checked.CAPTURE!r}',
            'Use "triggers" or "signals"',
        )
    if checked.ON_ERROR not in ERROR_WAYS:
        raise ConfigError(
            f'SOCKSTREAM["ON_ERROR"] is {checked.ON_ERROR!r}',
            'Use "stop" or "park"',
        )
    return checked


def _checked(key: str, value: Any, kinds: dict[str, str]) -> Any:
    if key not in kinds:
        near = difflib.get_close_matches(key, kinds, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "See docs/settings.md for the known ones"
        raise ConfigError(f"SOCKSTREAM has an unknown key {key!r}", hint)
    kind = kinds[key]
    if kind.startswith("tuple"):
        return _labels(key, value)
    if kind == "str":
        return str(value)
    allowed = _KINDS[kind]
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise ConfigError(f"SOCKSTREAM[{key!r}] is {value!r}", f"Give it a value of type {kind}")
    if isinstance(value, timedelta) and value < timedelta():
        raise ConfigError(f"SOCKSTREAM[{key!r}] is {value!r}", "Give it a time not below zero")
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
        raise ConfigError(f"SOCKSTREAM[{key!r}] is {value!r}", "Give it a number above zero")
    return value


def _labels(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ConfigError(
            f"SOCKSTREAM[{key!r}] is {value!r}",
            'Give it a list of app labels and model labels, such as ["polls", "shop.order"]',
        )
    return tuple(value)
