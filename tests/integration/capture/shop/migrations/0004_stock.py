import django.utils.timezone
from django.db import migrations, models


def delete_two(apps, schema_editor):
    products = apps.get_model("shop", "Product").objects.using(schema_editor.connection.alias)
    products.filter(title="two").delete()


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0003_title")]
    operations = [
        migrations.AddField("Product", "stock", models.IntegerField(default=5)),
        migrations.RemoveField("Product", "old"),
        migrations.RunSQL("UPDATE shop_product SET stock = 6 WHERE title = 'one!'"),
        migrations.RunPython(delete_two),
        migrations.AddField(
            "Product", "stamp", models.DateTimeField(default=django.utils.timezone.now)
        ),
    ]
