"""The models themselves: each has its table in every database that can hold it."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import IntegrityError, connections, transaction

from sockstream import rows
from tests.zoo.models import Everything, Generated, Wide
from tests.zoo.models.wide import COLUMNS
from tests.zoo_raw.models import Bee, Hive


def test_every_model_has_its_table(site: str) -> None:
    tables = set(connections[site].introspection.table_names())
    for label in ("zoo", "zoo_raw"):
        for model in apps.get_app_config(label).get_models(include_auto_created=True):
            assert model._meta.db_table in tables


def test_postgresqls_own_types_are_on_postgresql_alone(site: str) -> None:
    tables = set(connections[site].introspection.table_names())
    for model in apps.get_app_config("zoo_pg").get_models():
        assert (model._meta.db_table in tables) == (connections[site].vendor == "postgresql")


def test_every_model_can_be_described() -> None:
    for label in ("zoo", "zoo_pg", "zoo_raw", "polls"):
        for model in apps.get_app_config(label).get_models(include_auto_created=True):
            assert rows.describe(model).key


def test_everything_takes_a_row_of_nulls(site: str) -> None:
    Everything.objects.using(site).create()
    assert Everything.objects.using(site).get().json is None


def test_the_wide_table_is_wide() -> None:
    assert len(Wide._meta.concrete_fields) == COLUMNS


def test_the_database_computes_generated_columns(site: str) -> None:
    row = Generated.objects.using(site).create(price=3, quantity=4, name="bell")
    row.refresh_from_db(using=site)
    assert (row.total, row.shout) == (12, "BELL")


def test_the_database_cascades_where_django_does_not(site: str) -> None:
    hive = Hive.objects.using(site).create(name="a")
    Bee.objects.using(site).create(hive=hive, name="b")
    with connections[site].cursor() as cursor:
        cursor.execute("DELETE FROM zoo_raw_hive")
    assert not Bee.objects.using(site).exists()


def test_the_database_guards_its_references(site: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic(using=site):
        Bee.objects.using(site).create(hive_id=Hive().pk, name="b")
