import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            "Maker",
            [
                ("pkid", models.BigAutoField(primary_key=True)),
                ("id", models.UUIDField(default=uuid.uuid4, unique=True)),
                ("name", models.CharField(max_length=50)),
            ],
        ),
        migrations.CreateModel(
            "Product",
            [
                ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
                ("name", models.CharField(max_length=50)),
                ("old", models.IntegerField(default=0)),
            ],
        ),
    ]
