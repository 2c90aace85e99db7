import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Plant",
            [
                ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
                ("name", models.CharField(max_length=50)),
            ],
        )
    ]
