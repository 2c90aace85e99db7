"""Capture by Django's signals, on any database that Django knows.

Deletes and changes of m2m relations send their signals inside a transaction. A save does not:
`post_save` comes after its commit. So `save_base` of the captured models is wrapped into a
transaction; nothing of Django's own is touched. What sends no signal is not seen: `update()`,
`bulk_create()`, `bulk_update()`, raw SQL, other programs, cascades of the database.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

from django.apps import apps
from django.db import connections, models, router, transaction
from django.db.models import Q
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from sockstream.conf import settings
from sockstream.exceptions import SockstreamError
from sockstream.rows import captured_models

from .layouts import lives_here
from .reading import Snapshot

_UID = "sockstream.sender.signals"
_ORIGINAL = "_sockstream_save_base"
_KEPT = "_sockstream_snapshots"
_TOLD = "_sockstream_told"
_TELLING = (models.CASCADE, models.PROTECT, models.RESTRICT, models.DO_NOTHING)

Model = type[models.Model]

_captured: set[Model] = set()


def listen() -> None:
    """Begin to capture the models that the settings name. Raises ConfigError."""
    _captured.update(captured_models(settings()))
    for model in _with_proxies(_captured):
        _wrap(model)
        pre_save.connect(_before_save, sender=model, dispatch_uid=_UID)
        post_save.connect(_after_save, sender=model, dispatch_uid=_UID)
        pre_delete.connect(_before_delete, sender=model, dispatch_uid=_UID)
        post_delete.connect(_after_delete, sender=model, dispatch_uid=_UID)
    for through in _captured:
        m2m_changed.connect(_around_m2m, sender=through, dispatch_uid=_UID)


def ignore() -> None:
    """Stop capturing by signals."""
    _captured.clear()
    for model in apps.get_models(include_auto_created=True):
        if _ORIGINAL in vars(model):
            del model.save_base
            delattr(model, _ORIGINAL)
        for signal in (pre_save, post_save, pre_delete, post_delete, m2m_changed):
            signal.disconnect(sender=model, dispatch_uid=_UID)


def _with_proxies(chosen: Collection[Model]) -> list[Model]:
    every = apps.get_models(include_auto_created=True)
    return [model for model in every if model._meta.concrete_model in chosen]


def _wrap(model: Model) -> None:
    original = model.save_base
    if _ORIGINAL in vars(model):
        return

    @functools.wraps(original)
    def save_base(self: models.Model, *args: Any, **kwargs: Any) -> None:
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using, savepoint=False):
            original(self, *args, **{**kwargs, "using": using})

    setattr(model, _ORIGINAL, original)
    model.save_base = save_base  # type: ignore[method-assign]


def _before_save(sender: Model, instance: models.Model, **kwargs: Any) -> None:
    using = kwargs["using"]
    if not lives_here(using):
        return
    if not connections[using].in_atomic_block:
        raise SockstreamError(
            "capture-autocommit",
            f"A row of {sender._meta.label} is saved outside of a transaction, "
            "where its signal comes after the commit",
            "Save it inside transaction.atomic()",
        )
    tables = _tables_of(sender, raw=kwargs["raw"])
    kept = [Snapshot(table, using, _same(table, instance)) for table in tables]
    vars(instance)[_KEPT] = list(zip(tables, kept, strict=True))


def _after_save(sender: Model, instance: models.Model, **kwargs: Any) -> None:
    for table, snapshot in vars(instance).pop(_KEPT, ()):
        snapshot.capture(_same(table, instance))


def _before_delete(sender: Model, instance: models.Model, **kwargs: Any) -> None:
    using = kwargs["using"]
    if lives_here(using):
        model = _concrete(sender)
        vars(kwargs["origin"])[_TOLD] = defaultdict(set)
        own = Snapshot(model, using, Q(pk=instance.pk))
        vars(instance)[_KEPT] = own, list(_changed_with(model, instance, using))


def _after_delete(sender: Model, instance: models.Model, **kwargs: Any) -> None:
    kept = vars(instance).pop(_KEPT, None)
    if kept is None:
        return
    own, others = kept
    told = vars(kwargs["origin"])[_TOLD]  # a pair may go with both its ends at once
    for model, snapshot, silent in others:
        if silent:
            snapshot.capture_silent(told[model])
        else:
            snapshot.capture_changed()
    own.capture()


def _around_m2m(sender: Model, action: str, instance: models.Model, **kwargs: Any) -> None:
    using = kwargs["using"]
    if not lives_here(using):
        return
    if action.startswith("pre_"):
        condition = _pairs(sender, instance, kwargs["model"], kwargs["pk_set"])
        vars(instance)[_KEPT + action] = Snapshot(sender, using, condition)
    else:
        snapshot: Snapshot = vars(instance).pop(_KEPT + action.replace("post_", "pre_"))
        if action == "post_add":
            snapshot.capture_added(mirrored=_is_symmetrical(sender))
        elif sender._meta.auto_created:  # a model of its own sends its own signals for them
            snapshot.capture()


def _is_symmetrical(through: Model) -> bool:
    owner: Any = through._meta.auto_created
    if not owner:
        return False
    relations = (field.remote_field for field in owner._meta.local_many_to_many)
    return any(each.through is through and each.symmetrical for each in relations)


def _concrete(model: Model) -> Model:
    return model._meta.concrete_model or model


def _tables_of(sender: Model, *, raw: bool) -> list[Model]:
    """The models whose tables a save writes, parents first; a raw one writes its own table."""
    model = _concrete(sender)
    parents = () if raw else reversed(model._meta.all_parents)
    return [table for table in (*parents, model) if table in _captured]


def _same(table: Model, instance: models.Model) -> Q | None:
    """The condition that finds the row of `instance` in the table of one of its models."""
    names = getattr(table._meta, "pk_fields", (table._meta.pk,))
    values = {field.attname: getattr(instance, field.attname) for field in names}
    return None if None in values.values() else Q(**values)


def _changed_with(
    model: Model, instance: models.Model, using: str
) -> Iterator[tuple[Model, Snapshot, bool]]:
    """The rows that Django deletes or changes with this one, and tells nobody; whether some of
    them may be deleted."""
    for other in _captured:
        automatic = bool(other._meta.auto_created)
        for field in _references(other):
            on_delete = field.remote_field.on_delete
            if _concrete(field.related_model) is not model:
                continue
            if automatic or on_delete not in _TELLING:
                value = getattr(instance, field.target_field.attname)
                snapshot = Snapshot(other, using, Q(**{field.attname: value}))
                yield other, snapshot, automatic or is_done_by_database(on_delete)


def is_done_by_database(on_delete: Any) -> bool:
    """Whether it is one of Django 6.1's DB_CASCADE, DB_SET_NULL and DB_SET_DEFAULT."""
    return type(on_delete).__name__ == "DatabaseOnDelete"


def _references(model: Model) -> list[Any]:
    return [field for field in model._meta.local_concrete_fields if field.remote_field]


def _pairs(through: Model, instance: models.Model, model: Model, pk_set: set[Any] | None) -> Q:
    """The rows of an m2m table that a change is about; all of the instance's if it is cleared."""
    condition = Q()
    fields = _references(through)
    for near in fields:
        if not isinstance(instance, near.related_model):
            continue
        mine = Q(**{near.attname: getattr(instance, near.target_field.attname)})
        for far in fields:
            if far is near or not issubclass(model, far.related_model):
                continue
            condition |= mine if pk_set is None else mine & Q(**{f"{far.attname}__in": pk_set})
    return condition
