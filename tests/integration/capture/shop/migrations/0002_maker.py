import django.db.models.deletion
from django.db import migrations, models


def give_makers(apps, schema_editor):
    using = schema_editor.connection.alias
    maker = apps.get_model("shop", "Maker").objects.using(using).create(name="migrated")
    apps.get_model("shop", "Product").objects.using(using).update(maker=maker)


class Migration(migrations.Migration):
    # PostgreSQL has deferred checks pending after the rows, and then alters no table.
    atomic = False
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.AddField(
            "Product",
            "maker",
            models.ForeignKey("shop.Maker", null=True, on_delete=django.db.models.deletion.CASCADE),
        ),
        migrations.RunPython(give_makers),
    ]
