import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sockstream_receiver", "0010_retired")]

    operations = [
        migrations.CreateModel(
            name="Central",
            fields=[
                (
                    "id",
                    models.SmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("uid", models.UUIDField(default=uuid.uuid4)),
            ],
        ),
        migrations.AddField(
            model_name="offset",
            name="forwards",
            field=models.TextField(blank=True, default=""),
        ),
    ]
