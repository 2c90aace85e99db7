from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_sender", "0003_welcomed"),
    ]

    operations = [
        migrations.CreateModel(
            name="Lease",
            fields=[
                (
                    "work",
                    models.CharField(max_length=20, primary_key=True, serialize=False),
                ),
                ("token", models.CharField(max_length=32)),
                ("host", models.CharField(max_length=255)),
                ("machine", models.CharField(max_length=100)),
                ("pid", models.IntegerField()),
                ("started", models.CharField(max_length=30)),
                ("since", models.DateTimeField()),
                ("renewed_at", models.DateTimeField()),
                ("ended", models.TextField()),
            ],
        ),
    ]
