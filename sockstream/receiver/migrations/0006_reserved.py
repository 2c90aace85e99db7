from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sockstream_receiver", "0005_promised"),
    ]

    operations = [
        migrations.RenameModel("Promised", "Reserved"),
        migrations.AddField("Reserved", "drawn", models.BooleanField(default=True)),
    ]
