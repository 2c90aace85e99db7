"""Django makes the one table, SQL the other: its cascade and its default are the database's."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

MAKE_BEES = """
    CREATE TABLE zoo_raw_bee (
        id {key} NOT NULL PRIMARY KEY,
        hive_id {key} NOT NULL REFERENCES zoo_raw_hive (id) ON DELETE CASCADE ON UPDATE CASCADE,
        name varchar(50) DEFAULT 'worker' NOT NULL
    )
"""
# MySQL reads a REFERENCES beside the column and ignores it.
MAKE_BEES_ON_MYSQL = """
    CREATE TABLE zoo_raw_bee (
        id {key} NOT NULL PRIMARY KEY,
        hive_id {key} NOT NULL,
        name varchar(50) DEFAULT 'worker' NOT NULL,
        FOREIGN KEY (hive_id) REFERENCES zoo_raw_hive (id) ON DELETE CASCADE ON UPDATE CASCADE
    )
"""


def make_bees(apps, schema_editor):
    connection = schema_editor.connection
    statement = MAKE_BEES_ON_MYSQL if connection.vendor == "mysql" else MAKE_BEES
    schema_editor.execute(statement.format(key=models.UUIDField().db_type(connection)))


def drop_bees(apps, schema_editor):
    schema_editor.execute("DROP TABLE zoo_raw_bee")


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Hive",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False)),
                ("name", models.CharField(default="", max_length=50)),
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(make_bees, drop_bees)],
            state_operations=[
                migrations.CreateModel(
                    name="Bee",
                    fields=[
                        (
                            "id",
                            models.UUIDField(default=uuid.uuid4, primary_key=True, serialize=False),
                        ),
                        ("name", models.CharField(max_length=50)),
                        (
                            "hive",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="bees",
                                to="zoo_raw.hive",
                            ),
                        ),
                    ],
                ),
            ],
        ),
    ]
