from hashlib import blake2b
from uuid import UUID

import msgpack
from django.db import migrations, models

import sockstream.receiver.models

_INSERT, _UPDATE = 1, 2
_LAST = ("op", "names", "layout", "record")
_WHERE = ("source_id", "stream", "epoch")
_AT_ONCE = 100


def keep_the_last_of_each_row(apps, schema_editor):
    """A record carries the whole row: of many of one row, the last one stays, and the reason of
    the first one.
    """
    using = schema_editor.connection.alias
    parked = apps.get_model("sockstream_receiver", "Parked").objects.using(using)
    chains, firsts = {}, {}
    found = parked.order_by("seq").values_list("pk", "seq", *_WHERE, "model", "names")
    for pk, seq, *where, model, names in found:
        name = msgpack.unpackb(bytes(names))[""]
        chain = chains.setdefault((*where, model, name), [])
        chain.append((pk, seq))
        firsts[*where, seq] = chain[0][1]
    for (*_, name), chain in chains.items():
        _keep_the_last(parked, blake2b(name, digest_size=16).hexdigest(), chain)
    for row in parked.exclude(behind=0).only("behind", *_WHERE):
        where = [getattr(row, name) for name in _WHERE]
        if (first := firsts.get((*where, row.behind), row.behind)) != row.behind:
            parked.filter(pk=row.pk).update(behind=first)
    parked.filter(cause="row").update(cause="fault", behind=0)
    for offset in apps.get_model("sockstream_receiver", "Offset").objects.using(using).all():
        count = parked.filter(source_id=offset.source_id, stream=offset.stream).count()
        offset.records_applied += offset.parked - count
        offset.parked = count
        offset.parked_changes += 1
        offset.save(using=using, update_fields=["records_applied", "parked", "parked_changes"])


def _keep_the_last(parked, name, chain):
    (first, _), (last, seq) = chain[0], chain[-1]
    changes = {"name": name, "last_seq": seq}
    if len(chain) > 1:
        changes |= parked.filter(pk=last).values(*_LAST).get()
        absent = parked.values_list("absent", flat=True).get(pk=first)
        if changes["op"] in (_INSERT, _UPDATE):
            changes["op"] = _INSERT if absent else _UPDATE
    parked.filter(pk=first).update(**changes)
    others = [pk for pk, _ in chain[1:]]
    for start in range(0, len(others), _AT_ONCE):
        parked.filter(pk__in=others[start : start + _AT_ONCE]).delete()


class Migration(migrations.Migration):
    dependencies = [("sockstream_receiver", "0013_exact_names")]

    operations = [
        migrations.AddField(
            "parked", "last_seq", models.BigIntegerField(default=0), preserve_default=False
        ),
        migrations.AddField(
            "parked",
            "name",
            sockstream.receiver.models.Name(default=UUID(int=0)),
            preserve_default=False,
        ),
        migrations.RunPython(keep_the_last_of_each_row, migrations.RunPython.noop),
    ]
