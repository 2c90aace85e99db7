from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_receiver", "0008_names"),
    ]

    operations = [
        migrations.AddField(
            "Holding",
            "adoption",
            models.CharField(
                choices=[("", "None"), ("allowed", "Allowed"), ("used", "Used")],
                default="",
                max_length=10,
            ),
        ),
    ]
