from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sockstream_receiver", "0003_parked")]

    operations = [
        migrations.AddField(
            model_name="source",
            name="not_after",
            field=models.DateTimeField(null=True, verbose_name="certificate expires"),
        ),
    ]
