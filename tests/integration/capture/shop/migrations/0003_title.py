from django.db import migrations, models
from django.db.models import F, Value
from django.db.models.functions import Concat


def shout(apps, schema_editor):
    products = apps.get_model("shop", "Product").objects.using(schema_editor.connection.alias)
    products.filter(name="one").update(name=Concat(F("name"), Value("!")))


class Migration(migrations.Migration):
    dependencies = [("shop", "0002_maker")]
    operations = [
        migrations.AlterField("Product", "name", models.CharField(max_length=80)),
        migrations.RunPython(shout),
        migrations.RenameField("Product", "name", "title"),
    ]
