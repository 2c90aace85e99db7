"""The site's own tables: captured rows, their layouts, the oplog, and where the stream stands."""

from __future__ import annotations

from django.db import models


class CaptureLayout(models.Model):
    """What the values of a captured row are; self-contained, so that a later migration of the
    captured model does not change what was captured before it."""

    digest = models.CharField(max_length=64, unique=True)
    model = models.CharField(max_length=200)
    definition = models.TextField()


class Installed(models.Model):
    """What captures a model, as it was installed last: the layout, and digests of the triggers by
    their names, in JSON. Whatever else is found there means that writes were missed."""

    model = models.CharField(max_length=200, unique=True)
    layout = models.IntegerField()
    triggers = models.TextField()


class Due(models.Model):
    """A model of which writes were not captured, and why: a snapshot of it is due.

    A snapshot that ends removes what was here when it began.
    """

    id = models.BigAutoField(primary_key=True)
    model = models.CharField(max_length=200)
    reason = models.CharField(max_length=200)


class Capture(models.Model):
    """A committed write that has no sequence number yet. Triggers write it; nothing else does."""

    id = models.BigAutoField(primary_key=True)
    txid = models.BigIntegerField(null=True)
    op = models.CharField(max_length=1)
    layout = models.IntegerField()
    data = models.TextField()

    class Meta:
        # Partial: where transactions have no name, it costs a write nothing.
        indexes = [
            models.Index(
                fields=["txid"],
                condition=models.Q(txid__isnull=False),
                name="sockstream_capture_txid",
            )
        ]


class Batch(models.Model):
    """One row of the oplog: records with consecutive sequence numbers, encoded once."""

    first_seq = models.BigIntegerField(primary_key=True)
    last_seq = models.BigIntegerField(unique=True)
    version = models.SmallIntegerField()
    segments = models.BinaryField()
    open = models.BooleanField()
    cut = models.BooleanField()
    header = models.BinaryField()
    data = models.BinaryField()
    digest_before = models.BinaryField()
    digest_after = models.BinaryField()
    made_at = models.DateTimeField(db_index=True)


class Acked(models.Model):
    """Everything up to `seq` was acked at `at`. `oplog.store.prune` notes it now and then."""

    seq = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()


class Stream(models.Model):
    """Where this database's stream stands. There is one row, made at the first use.

    `snapshot`: one was begun and has not ended yet; all records since then are one group.
    `welcomed`: central may have records of this epoch. False from the fork that began it until
    central's first welcome.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    epoch = models.BinaryField()
    parent_epoch = models.BinaryField(null=True)
    seq = models.BigIntegerField(default=0)
    digest = models.BinaryField()
    acked_seq = models.BigIntegerField(default=0)
    acked_at = models.DateTimeField(null=True)
    pruned_seq = models.BigIntegerField(default=0)
    snapshot = models.BooleanField(default=False)
    welcomed = models.BooleanField(default=True)
    session = models.BigIntegerField(default=0)
    peer = models.CharField(max_length=300, default="")
    state = models.CharField(max_length=20, default="idle")
    state_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=50, default="")
    error = models.TextField(default="")


class Lease(models.Model):
    """Which process does a work that one process a database does, or did it last.

    `token` is empty once that is over; then `ended` is what ended it too soon. `machine` is where
    `pid` counts, and `started` when that number was given: see oplog.holders.
    """

    work = models.CharField(primary_key=True, max_length=20)
    token = models.CharField(max_length=32)
    host = models.CharField(max_length=255)
    machine = models.CharField(max_length=100)
    pid = models.IntegerField()
    started = models.CharField(max_length=30)
    since = models.DateTimeField()
    renewed_at = models.DateTimeField()
    ended = models.TextField()
