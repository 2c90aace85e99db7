from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sockstream_receiver", "0009_adoption")]

    operations = [
        migrations.AddField(
            model_name="source",
            name="retired_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="retired"),
        ),
        migrations.AlterField(
            model_name="source",
            name="disabled",
            field=models.BooleanField(db_index=True, default=False),
        ),
    ]
