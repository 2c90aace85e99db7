from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_sender", "0004_lease"),
    ]

    operations = [
        migrations.CreateModel(
            name="Acked",
            fields=[
                (
                    "seq",
                    models.BigIntegerField(primary_key=True, serialize=False),
                ),
                ("at", models.DateTimeField()),
            ],
        ),
    ]
