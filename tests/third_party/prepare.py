"""Makes the databases of Wagtail's site and of its central: python -m tests.third_party.prepare.

Wagtail's own three hundred migrations take minutes. So the tables are made as its models are, and
`initial.json` (dumpdata's, of a database that was really migrated) has the rows that they leave.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import django
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models import F

from tests.third_party.router import CENTRAL, SITE

INITIAL = Path(__file__).parent / "initial.json"
# Where central's differ from the site's, references to them have to be translated.
SHIFT = 5_000


def main() -> None:
    """Make both."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.third_party.settings")
    django.setup()
    for alias in (SITE, CENTRAL):
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0, skip_checks=True)
        if connections[alias].vendor == "sqlite":
            make_full_text_search(alias)
    shift_local_keys(CENTRAL)
    call_command("loaddata", str(INITIAL), database=SITE, verbosity=0)


def make_full_text_search(alias: str) -> None:
    """The virtual table and its triggers, as Wagtail's migration makes them on SQLite."""
    found = import_module("wagtail.search.migrations.0006_customise_indexentry")
    statements = found.Migration.operations[-1].database_operations
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE wagtailsearch_indexentry_fts")
        for statement in statements:
            cursor.execute(statement.sql)


def shift_local_keys(alias: str) -> None:
    """Give content types and permissions other primary keys than they have at the site."""
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType

    types, permissions = ContentType.objects.using(alias), Permission.objects.using(alias)
    with transaction.atomic(using=alias):
        # Downwards, so that none meets another one on its way.
        for key in types.order_by("-id").values_list("id", flat=True):
            types.filter(id=key).update(id=key + SHIFT)
        permissions.update(content_type_id=F("content_type_id") + SHIFT)
        for key in permissions.order_by("-id").values_list("id", flat=True):
            permissions.filter(id=key).update(id=key + SHIFT)


if __name__ == "__main__":
    main()
