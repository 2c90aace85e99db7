import django.db.models.deletion
from django.db import migrations, models


def forget_checking(apps, schema_editor):
    """A state that there was while a group was kept in an open transaction."""
    offsets = apps.get_model("sockstream_receiver", "Offset").objects
    offsets.using(schema_editor.connection.alias).filter(state="checking").update(state="idle")


class Migration(migrations.Migration):
    dependencies = [("sockstream_receiver", "0011_central")]

    operations = [
        migrations.AddField("offset", "staged_seq", models.BigIntegerField(default=0)),
        migrations.AddField("offset", "staged_digest", models.BinaryField(default=bytes(16))),
        migrations.AddField("offset", "staged_epoch", models.BinaryField(default=b"")),
        migrations.AddField("offset", "staged_bytes", models.BigIntegerField(default=0)),
        migrations.AddField("offset", "staged_tried", models.BigIntegerField(default=0)),
        migrations.RunPython(forget_checking, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="offset",
            name="state",
            field=models.CharField(
                choices=[("idle", "Idle"), ("connected", "Connected"), ("stopped", "Stopped")],
                default="idle",
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="Staged",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "offset_id",
                        "first_seq",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "offset",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="sockstream_receiver.offset",
                    ),
                ),
                ("first_seq", models.BigIntegerField()),
                ("last_seq", models.BigIntegerField()),
                ("digest_after", models.BinaryField()),
                ("size", models.BigIntegerField()),
                ("version", models.PositiveSmallIntegerField()),
                ("data", models.BinaryField()),
            ],
        ),
    ]
