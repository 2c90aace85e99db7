from django.db import migrations, models
from django.db.models import Value
from django.db.models.functions import Concat


def shout(apps, schema_editor):
    tags = apps.get_model("polls", "Tag").objects.using(schema_editor.connection.alias)
    tags.filter(name="going").delete()
    tags.update(name=Concat("name", Value("!")))
    tags.create(name="made by the migration")


class Migration(migrations.Migration):
    dependencies = [("polls", "0001_initial")]
    operations = [
        migrations.AlterField("Tag", "name", models.CharField(max_length=60, unique=True)),
        migrations.RunPython(shout),
        migrations.AlterField("Tag", "name", models.CharField(max_length=50, unique=True)),
    ]
