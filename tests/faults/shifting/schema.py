"""An application that changes: random migrations, and the models that they lead to, as files."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.db import models
from django.db.migrations import Migration
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter

APP = "shift"
MOST_MODELS = 5
MOST_FIELDS = 6


class Application:
    """The files of the application, which `change` takes one migration further.

    `most`: how many operations a migration has.
    """

    def __init__(self, folder: Path, draw: random.Random, most: int) -> None:
        self._most = most
        self._folder = folder / APP
        self._draw = draw
        self._state = ProjectState()
        self._count = 0
        self._names = 0
        (self._folder / "migrations").mkdir(parents=True)
        for path in (self._folder, self._folder / "migrations"):
            (path / "__init__.py").touch()
        self._write([self._create(), self._create()], atomic=True)

    def change(self) -> str:
        """Write another migration; returns what it does."""
        atomic = self._draw.random() < 0.7
        operations = []
        for _ in range(self._draw.randint(1, self._most)):
            if (operation := self._draw.choice(self._changes)()) is not None:
                operations.append(operation)
                operation.state_forwards(APP, self._state)
        return self._write(operations, atomic=atomic, known=True)

    @property
    def _changes(self) -> list[Callable[[], Operation | None]]:
        return [
            self._create,
            self._delete,
            self._rename_model,
            *[self._add, self._add, self._remove, self._rename, self._retype, self._move] * 2,
        ]

    def _create(self) -> Operation | None:
        if len(self._state.models) >= MOST_MODELS:
            return None
        fields: list[tuple[str, models.Field[Any, Any]]] = [
            ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
            ("name", models.CharField(max_length=50, default="")),
        ]
        return ops.CreateModel(self._new("Model"), fields)

    def _delete(self) -> Operation | None:
        name = self._model()
        pointed_to = {
            field.remote_field.model.lower()
            for state in self._state.models.values()
            for field in state.fields.values()
            if field.remote_field
        }
        if len(self._state.models) < 3 or f"{APP}.{name}".lower() in pointed_to:
            return None
        return ops.DeleteModel(name)

    def _rename_model(self) -> Operation:
        return ops.RenameModel(self._model(), self._new("Model"))

    def _add(self) -> Operation | None:
        model = self._model()
        if len(self._fields(model)) >= MOST_FIELDS:
            return None
        to = f"{APP}.{self._model()}"
        field: models.Field[Any, Any] = self._draw.choice(
            [
                models.IntegerField(null=True),
                models.IntegerField(default=7),
                models.CharField(max_length=40, default=uuid.uuid4),
                models.CharField(max_length=40, null=True, db_index=True),
                models.ForeignKey(to, models.SET_NULL, null=True, related_name="+"),
            ]
        )
        return ops.AddField(model, self._new("field"), field)

    def _remove(self) -> Operation | None:
        model = self._model()
        fields = self._fields(model)
        return ops.RemoveField(model, self._draw.choice(fields)) if fields else None

    def _rename(self) -> Operation | None:
        model = self._model()
        fields = self._fields(model)
        return (
            ops.RenameField(model, self._draw.choice(fields), self._new("field"))
            if fields
            else None
        )

    def _retype(self) -> Operation | None:
        model = self._model()
        state = self._state.models[APP, model.lower()]
        names = [name for name in self._fields(model) if not state.fields[name].remote_field]
        if not names:
            return None
        name = self._draw.choice(names)
        old = state.fields[name]
        if isinstance(old, models.IntegerField):
            new: models.Field[Any, Any] = models.BigIntegerField(null=old.null, default=old.default)
        else:
            longer = self._draw.randint(60, 90)
            new = models.CharField(max_length=longer, null=old.null, default=old.default)
        if old.default is models.NOT_PROVIDED:
            new.default = models.NOT_PROVIDED
        return ops.AlterField(model, name, new)

    def _move(self) -> Operation | None:
        """Write rows, as a data migration does."""
        model = self._model()
        table = f"{APP}_{model.lower()}"
        return ops.RunSQL(
            f"UPDATE {table} SET name = 'moved {self._draw.random():.4f}'", ops.RunSQL.noop
        )

    def _model(self) -> str:
        names: list[str] = sorted(state.name for state in self._state.models.values())
        return self._draw.choice(names)

    def _fields(self, model: str) -> list[str]:
        fields = self._state.models[APP, model.lower()].fields
        return sorted(name for name in fields if name not in {"id", "name"})

    def _new(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def _write(
        self, operations: Sequence[Operation | None], *, atomic: bool, known: bool = False
    ) -> str:
        made = [each for each in operations if each is not None]
        if not known:
            for operation in made:
                operation.state_forwards(APP, self._state)
        before = [(APP, f"{self._count:04}_change")] if self._count else []
        self._count += 1
        migration = type(
            "Migration",
            (Migration,),
            {"operations": made, "dependencies": before, "initial": not before, "atomic": atomic},
        )(f"{self._count:04}_change", APP)
        text = MigrationWriter(migration, include_header=False).as_string()
        if not atomic:
            text = text.replace("class Migration(migrations.Migration):\n", NOT_ATOMIC)
        path = self._folder / "migrations" / f"{migration.name}.py"
        path.write_text(text)
        (self._folder / "models.py").write_text(self._models())
        said = "; ".join(operation.describe() for operation in made)
        return f"{migration.name}{'' if atomic else ' (not atomic)'}: {said}"

    def _models(self) -> str:
        imports, classes = {"from django.db import models"}, []
        for state in self._state.models.values():
            lines = [f"class {state.name}(models.Model):"]
            for name, field in state.fields.items():
                text, needed = MigrationWriter.serialize(field)
                imports |= needed
                lines.append(f"    {name} = {text}")
            classes.append("\n".join(lines))
        return "\n".join(sorted(imports)) + "\n\n\n" + "\n\n\n".join(classes) + "\n"


NOT_ATOMIC = "class Migration(migrations.Migration):\n    atomic = False\n"
