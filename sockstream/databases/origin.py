"""Whose rows a project sends on: what it wrote itself, or also what streams brought to it.

A project may be a central and a site in one. The applier then tells the database, by the means
below, that the writes of its transaction come from a stream, and the triggers of capture pass them
by; unless the project is a hub, which forwards them. Two hubs that forward to each other would
send each row round for ever, so a hello names the centrals whose rows its stream may hold.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import connections, router

from sockstream.conf import settings

SETTING = "sockstream.applying"
"""On PostgreSQL, a setting of the transaction: `on` while the applier writes."""
VARIABLE = "@sockstream_applying"
"""On MySQL, a variable of the session: not NULL meanwhile."""
TABLE = "sockstream_sender_applying"
"""On SQLite, a table, which nobody else ever sees filled: it has a row meanwhile."""

_CENTRAL, _SITE = "sockstream.receiver", "sockstream.sender"
_CENTRAL_LABEL, _SITE_LABEL = "sockstream_receiver", "sockstream_sender"
_MOST = 100


def keeps_apart(using: str) -> bool:
    """Whether capture in this database has to pass by what streams bring there."""
    if not (apps.is_installed(_CENTRAL) and apps.is_installed(_SITE)):
        return False
    models = apps.get_model(_CENTRAL_LABEL, "Offset"), apps.get_model(_SITE_LABEL, "Capture")
    here = all(router.allow_migrate_model(using, model) for model in models)
    return here and not settings().FORWARD


def forwarded(using: str) -> list[str]:
    """The ids of the centrals whose rows the stream of this database may hold; this one's first.

    Empty at a site that is no hub. Raises Django's database errors.
    """
    if not (apps.is_installed(_CENTRAL) and settings().FORWARD):
        return []
    offset = _model("Offset")
    if not _is_here(offset, using):
        return []
    ids = {own_id(using): None}
    others = offset.objects.using(using).exclude(forwards="").values_list("forwards", flat=True)
    for some in others.order_by("pk"):
        ids |= dict.fromkeys(some.split())
    return list(ids)[:_MOST]


def own_id(using: str) -> str:
    """What this central is called in a hello; made at the first call."""
    return str(_model("Central").objects.using(using).get_or_create(id=1)[0].uid.hex)


def _model(name: str) -> Any:
    return apps.get_model(_CENTRAL_LABEL, name)


def _is_here(model: Any, using: str) -> bool:
    if not router.allow_migrate_model(using, model):
        return False
    return model._meta.db_table in connections[using].introspection.table_names()
