from django.db import migrations

import sockstream.receiver.models

_MODELS = ("HeldRow", "Reserved")


def _without_native_uuids(apps, schema_editor):
    """MariaDB's type refuses what is no UUID; elsewhere the column is what it was."""
    connection = schema_editor.connection
    if connection.vendor != "mysql" or not connection.features.has_native_uuid_field:
        return
    for name in _MODELS:
        table = apps.get_model("sockstream_receiver", name)._meta.db_table
        schema_editor.execute(f"ALTER TABLE {table} MODIFY name char(36) NOT NULL")
        schema_editor.execute(f"UPDATE {table} SET name = REPLACE(name, '-', '')")
        schema_editor.execute(f"ALTER TABLE {table} MODIFY name char(32) NOT NULL")


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_receiver", "0007_pending_epoch"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunPython(_without_native_uuids, migrations.RunPython.noop),
            ],
            state_operations=[
                migrations.AlterField(name, "name", sockstream.receiver.models.Name())
                for name in _MODELS
            ],
        ),
    ]
