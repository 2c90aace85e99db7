from django.db import migrations, models


class Migration(migrations.Migration):
    """Not in the transaction that changes the rows: PostgreSQL would refuse."""

    dependencies = [("sockstream_receiver", "0014_parked_rows")]

    operations = [
        migrations.AlterField(
            "parked",
            "cause",
            models.CharField(
                choices=[("fault", "its own fault"), ("reference", "refers to it")], max_length=20
            ),
        ),
        migrations.AddConstraint(
            "parked",
            models.UniqueConstraint(
                fields=["source", "stream", "epoch", "model", "name"],
                name="sockstream_parked_row_once",
            ),
        ),
        migrations.RemoveConstraint("parked", "sockstream_parked_once"),
    ]
