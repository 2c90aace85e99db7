from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_sender", "0002_snapshot"),
    ]

    operations = [
        migrations.AddField(
            model_name="stream",
            name="welcomed",
            field=models.BooleanField(default=True),
        ),
    ]
