from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sockstream_receiver", "0015_parked_rows_once")]

    operations = [
        migrations.AddField(
            model_name="offset",
            name="pending_parent",
            field=models.BinaryField(default=b""),
        ),
    ]
