"""Migrate the shop halfway, write rows, migrate the rest: what was captured gives what is there."""

from __future__ import annotations

from typing import Any

import django
from django.core.management import call_command
from django.db import connection

DEFAULTS = {"stock": 5, "note": None, "weight": 1}


def main() -> None:
    """Raises AssertionError if something was not captured."""
    django.setup()
    from sockstream.sender import capture
    from tests.integration.capture.replay import take_all, truth

    call_command("migrate", "sockstream_sender", verbosity=0)
    call_command("migrate", "shop", "0001", verbosity=0)
    with connection.cursor() as cursor:
        for number, name in enumerate(("one", "two", "three"), 1):
            key = f"{number:032x}"
            cursor.execute(
                "INSERT INTO shop_product (id, name, old) VALUES (%s, %s, 0)", [key, name]
            )
    take_all(
        "default"
    )  # the name is unknown to today's models: central's migration gives it a title
    state = {
        ("shop.product", (number.to_bytes(16),)): {"title": name}
        for number, name in enumerate(("one", "two", "three"), 1)
    }
    call_command("migrate", verbosity=0)
    assert capture.drift("default") == []
    merged = _merged(state, take_all("default"))
    expected = truth("default")
    assert merged == expected, f"\n{merged}\n{expected}"
    assert len(expected) == 5


def _merged(state: dict[Any, Any], records: list[Any]) -> dict[Any, Any]:
    for record in records:
        key = (record.model, record.key)
        if record.op == "D":
            del state[key]
        else:
            state[key] = state.get(key, {}) | record.values
    names = {"shop.product": ("stock", "note"), "shop.extra": ("weight",), "shop.maker": ()}
    return {
        (model, key): {name: DEFAULTS[name] for name in names[model]} | values
        for (model, key), values in state.items()
    }


if __name__ == "__main__":
    main()
