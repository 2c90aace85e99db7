from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("growing", "0001_initial")]
    operations = [migrations.AddField("Plant", "height", models.IntegerField(default=0))]
