from django.db import migrations, models
from django.db.models import F


def keep_what_was_heard(apps, schema_editor):
    """An epoch of which nothing is applied is one that was only heard of."""
    offsets = apps.get_model("sockstream_receiver", "Offset").objects
    unmoved = offsets.using(schema_editor.connection.alias).filter(seq=0)
    unmoved.update(pending_epoch=F("epoch"))
    unmoved.update(epoch=b"")


class Migration(migrations.Migration):
    dependencies = [("sockstream_receiver", "0006_reserved")]

    operations = [
        migrations.AddField(
            model_name="offset",
            name="pending_epoch",
            field=models.BinaryField(default=b""),
        ),
        migrations.AddField(
            model_name="offset",
            name="anew",
            field=models.BooleanField(default=False),
        ),
        migrations.RunPython(keep_what_was_heard, migrations.RunPython.noop),
    ]
