from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_sender", "0005_acked"),
    ]

    operations = [
        migrations.CreateModel(
            name="Due",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("model", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=200)),
            ],
        ),
        migrations.CreateModel(
            name="Installed",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("model", models.CharField(max_length=200, unique=True)),
                ("layout", models.IntegerField()),
                ("triggers", models.TextField()),
            ],
        ),
    ]
