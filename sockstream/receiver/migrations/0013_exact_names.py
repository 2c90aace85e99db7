from django.db import migrations

# The first one that the server has. The last one takes "a" and "a " for the same.
_EXACT = ("utf8mb4_nopad_bin", "utf8mb4_0900_bin", "utf8mb4_bin")


def _tell_names_apart(apps, schema_editor):
    """MySQL's usual collations take "Site" and "site" for the same: two sites would be one."""
    connection = schema_editor.connection
    if connection.vendor != "mysql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT collation_name FROM information_schema.collations")
        known = {name for (name,) in cursor.fetchall()}
    collation = next(name for name in _EXACT if name in known)
    for model in apps.get_app_config("sockstream_receiver").get_models():
        table = schema_editor.quote_name(model._meta.db_table)
        schema_editor.execute(
            f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}"
        )


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_receiver", "0012_staged"),
    ]

    operations = [
        migrations.RunPython(_tell_names_apart, migrations.RunPython.noop, atomic=False),
    ]
