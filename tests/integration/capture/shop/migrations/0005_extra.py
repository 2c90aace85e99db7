import uuid

import django.db.models.deletion
from django.db import migrations, models


def add_extras(apps, schema_editor):
    using = schema_editor.connection.alias
    for product in apps.get_model("shop", "Product").objects.using(using):
        apps.get_model("shop", "Extra").objects.using(using).create(product=product)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0004_stock")]
    operations = [
        migrations.CreateModel(
            "Extra",
            [
                ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
                (
                    "product",
                    models.ForeignKey("shop.Product", on_delete=django.db.models.deletion.CASCADE),
                ),
            ],
        ),
        migrations.RunPython(add_extras),
        migrations.AddField("Extra", "weight", models.IntegerField(default=1)),
        migrations.RunSQL(
            "ALTER TABLE shop_product ADD COLUMN note varchar(20) NULL; "
            "UPDATE shop_product SET note = 'a;b' WHERE title = 'one!'; "
            "UPDATE shop_extra SET weight = 2",
            state_operations=[
                migrations.AddField("Product", "note", models.CharField(max_length=20, null=True))
            ],
        ),
    ]
