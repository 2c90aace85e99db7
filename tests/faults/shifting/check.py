"""What was captured so far gives what is there: `python -m tests.faults.shifting.check STATE`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import django
from django.db.models import NOT_PROVIDED

STATE = dict[tuple[str, Any], dict[str, Any]]


def main() -> None:
    """Raises AssertionError if a row is missing, too much, or has another value."""
    django.setup()
    from django.apps import apps

    from sockstream.sender import capture
    from tests.integration.capture.replay import take_all, truth

    path = Path(sys.argv[1])
    state: STATE = pickle.loads(path.read_bytes()) if path.exists() else {}
    assert capture.lost("default") == []
    assert capture.drift("default") == []
    _replay(state, take_all("default", marked=True))
    path.write_bytes(pickle.dumps(state))
    expected = truth("default")
    labels = {model._meta.label_lower: model for model in apps.get_app_config("shift").get_models()}
    found = {key: values for key, values in state.items() if key[0] in labels}
    missing, surplus = expected.keys() - found.keys(), found.keys() - expected.keys()
    assert not missing, f"{len(missing)} rows were not captured: {sorted(map(str, missing))[:3]}"
    assert not surplus, f"{len(surplus)} rows are gone: {sorted(map(str, surplus))[:3]}"
    for key, values in expected.items():
        kept = _defaults(labels[key[0]]) | found[key]
        differ = {
            name: (kept[name], value) for name, value in values.items() if kept[name] != value
        }
        assert not differ, f"{key}: captured and there: {differ}"
    print(f"{len(expected)} rows equal")


def _replay(state: STATE, records: list[Any]) -> None:
    come: dict[str, set[Any] | None] = {}
    for record in records:
        key = record.model, record.key
        if record.op == "B":
            come[record.model] = set()
        elif record.op == "E":
            kept = come.pop(record.model, None) or set()
            for each in [each for each in state if each[0] == record.model and each not in kept]:
                del state[each]
        elif record.op == "D":
            state.pop(key, None)
        elif record.op in {"I", "U", "S"}:
            state[key] = state.get(key, {}) | record.values
            if (seen := come.get(record.model)) is not None:
                seen.add(key)


def _defaults(model: Any) -> dict[str, Any]:
    """What central's own migration gives to columns that a record does not have."""
    constant = {
        field.name: field.default
        for field in model._meta.fields
        if field.default is not NOT_PROVIDED and not callable(field.default)
    }
    return {field.name: None for field in model._meta.fields} | constant


if __name__ == "__main__":
    main()
