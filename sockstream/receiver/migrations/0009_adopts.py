from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_receiver", "0008_names"),
    ]

    operations = [
        migrations.AddField("Holding", "adopts", models.BooleanField(default=False)),
    ]
