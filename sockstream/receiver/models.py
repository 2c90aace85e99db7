"""Central's own tables: the sources, how far each stream is applied, and who owns which model."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from .dialects import dialect_of


class State(models.TextChoices):
    """What a stream does."""

    IDLE = "idle"
    CONNECTED = "connected"
    STOPPED = "stopped"


class Source(models.Model):
    """A site, as its client certificate names it.

    `disabled` refuses it. `retired_at`: it is gone for good, so it is disabled and never missed.
    """

    name = models.CharField(max_length=200, unique=True)
    disabled = models.BooleanField(default=False, db_index=True)
    retired_at = models.DateTimeField("retired", null=True, blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    serial = models.CharField(max_length=64, default="", blank=True)
    fingerprint = models.CharField(max_length=128, default="", blank=True)
    not_after = models.DateTimeField("certificate expires", null=True)
    address = models.CharField(max_length=200, default="", blank=True)

    def __str__(self) -> str:
        return self.name


class Central(models.Model):
    """Who this central is, in the hellos of hubs. There is one row, made at the first use."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    uid = models.UUIDField(default=uuid.uuid4)

    def __str__(self) -> str:
        return str(self.uid)


class Offset(models.Model):
    """The last record of a stream that is applied, and the session that may apply the next one.

    The row moves in the transaction of the rows it speaks of. Whoever holds an older `fence`
    matches no row any more. `epoch` is empty as long as nothing is applied. `pending_epoch` is the
    epoch that the session announced, until its first commit moves it to `epoch`; empty if they are
    the same. `pending_parent` is the epoch that it comes from. `anew`: a person has said that the
    stream may begin with any history. `forwards`: the ids of the centrals whose rows the stream may
    hold, for a hub that sends them on. `parked` is how many rows of the stream are parked, and
    `parked_changes` how often people retried or dropped some: an applier that remembers which ones
    there are sees that it has to look anew. `staged_seq`, `staged_digest` and `staged_epoch` are
    where the staged records end (0: there are none), `staged_bytes` is what they take, and
    `staged_tried` the last cut among them that they could not be committed at.
    """

    source = models.ForeignKey(Source, models.PROTECT, related_name="offsets")
    stream = models.CharField(max_length=100)
    epoch = models.BinaryField(default=b"")
    pending_epoch = models.BinaryField(default=b"")
    pending_parent = models.BinaryField(default=b"")
    anew = models.BooleanField(default=False)
    forwards = models.TextField(default="", blank=True)
    seq = models.BigIntegerField(default=0)
    digest = models.BinaryField(default=bytes(16))
    session = models.BigIntegerField(default=0)
    confirmed = models.BooleanField(default=True)
    fence = models.BigIntegerField(default=0)
    instance = models.BinaryField(default=b"")
    former_instance = models.BinaryField(default=b"")
    flips = models.PositiveIntegerField(default=0)
    flips_since = models.DateTimeField(null=True)
    state = models.CharField(max_length=20, choices=State.choices, default=State.IDLE)
    connected_at = models.DateTimeField(null=True)
    applied_at = models.DateTimeField(null=True)
    records_applied = models.BigIntegerField(default=0)
    inserts_met = models.BigIntegerField(default=0)
    updates_missed = models.BigIntegerField(default=0)
    deletes_missed = models.BigIntegerField(default=0)
    error_code = models.CharField(max_length=50, default="")
    error = models.TextField(default="")
    error_model = models.CharField(max_length=200, default="")
    error_key = models.TextField(default="")
    error_seq = models.BigIntegerField(default=0)
    error_at = models.DateTimeField(null=True)
    parked = models.PositiveIntegerField(default=0)
    parked_changes = models.BigIntegerField(default=0)
    staged_seq = models.BigIntegerField(default=0)
    staged_digest = models.BinaryField(default=bytes(16))
    staged_epoch = models.BinaryField(default=b"")
    staged_bytes = models.BigIntegerField(default=0)
    staged_tried = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "stream"], name="sockstream_one_offset_a_stream"
            )
        ]

    def __str__(self) -> str:
        return f"{self.source}/{self.stream} at {self.seq}"


class Staged(models.Model):
    """A batch of a group that has not ended yet, as it came.

    `data` is the body of a records message of the protocol; `version` would be another number for
    another format. `size` is what the batch costs of a window.
    """

    pk = models.CompositePrimaryKey("offset_id", "first_seq")
    offset = models.ForeignKey(Offset, models.CASCADE, related_name="+", db_index=False)
    first_seq = models.BigIntegerField()
    last_seq = models.BigIntegerField()
    digest_after = models.BinaryField()
    size = models.BigIntegerField()
    version = models.PositiveSmallIntegerField()
    # The last column: SQLite reads those before it without reading this one.
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.first_seq} to {self.last_seq}"


class Owner(models.Model):
    """The one stream that writes a model whose key means nothing elsewhere (an integer key).

    The first stream to write the model owns it; another one is stopped with `key-collision`.
    """

    model = models.CharField(max_length=200, unique=True)
    source = models.ForeignKey(Source, models.PROTECT, related_name="owned")
    stream = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"{self.model} of {self.source}/{self.stream}"


class Holding(models.Model):
    """What a stream has brought of one model, for the snapshot that takes away what is gone.

    A row of it belongs to a generation; a snapshot begins a new one. `phase` is never seen from
    outside: a snapshot is one transaction. `adoption`: a person has allowed the stream to take over
    central's own rows of the model; the next transaction that does so is the last one.
    """

    class Phase(models.TextChoices):
        """`WAITING`: what comes of the model before its rows do is among them. `LOADING`: rows."""

        NONE = ""
        WAITING = "waiting"
        LOADING = "loading"

    class Adoption(models.TextChoices):
        """`USED`: by the transaction at work; never seen from outside."""

        NONE = ""
        ALLOWED = "allowed"
        USED = "used"

    source = models.ForeignKey(Source, models.PROTECT, related_name="holdings")
    stream = models.CharField(max_length=100)
    model = models.CharField(max_length=200)
    generation = models.IntegerField(default=0)
    phase = models.CharField(max_length=10, choices=Phase.choices, default=Phase.NONE)
    adoption = models.CharField(max_length=10, choices=Adoption.choices, default=Adoption.NONE)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "stream", "model"], name="sockstream_one_holding_a_model"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model} of {self.source}/{self.stream}"


class Name(models.UUIDField):  # type: ignore[type-arg]
    """16 bytes of any value, as a UUID.

    MariaDB's own type of that name refuses bytes that no UUID has, so it is not used.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return dialect_of(connection).name_type

    def rel_db_type(self, connection: BaseDatabaseWrapper) -> str:
        return self.db_type(connection)

    def get_db_prep_value(
        self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False
    ) -> Any:
        return None if value is None else self.to_python(value).hex


class HeldRow(models.Model):
    """A row that a stream has brought. `name` is its UUID key; of another key it is the BLAKE2b-128
    digest, and `key` the msgpack of the key's parts."""

    pk = models.CompositePrimaryKey("holding", "name")
    holding = models.IntegerField()
    name = Name()
    key = models.BinaryField(null=True)
    generation = models.IntegerField()

    def __str__(self) -> str:
        return str(self.name)


class Reserved(models.Model):
    """The number that central gives a row when it comes.

    `drawn`: others point to the row already; else it was deleted, and may come again. `holding`,
    `name` and `key` are as in `HeldRow`. Never seen from outside: none outlives its transaction.
    """

    pk = models.CompositePrimaryKey("holding", "name")
    holding = models.IntegerField()
    name = Name()
    key = models.BinaryField(null=True)
    number = models.BigIntegerField()
    drawn = models.BooleanField(default=True)

    def __str__(self) -> str:
        return f"{self.number} for {self.name}"


class Cause(models.TextChoices):
    """Why a row is parked: a record of its own could not be applied, or it waits for another."""

    FAULT = "fault", "its own fault"
    REFERENCE = "reference", "refers to it"


class Parked(models.Model):
    """A row whose records could not be applied; nobody deletes it without being asked to.

    One entry a row: `seq` is its first parked record, `last_seq` its last, which is kept whole.
    `layout` and `record` are msgpack as on the wire: the header of a batch with this one layout,
    and `[op, 0, values]`; the column `op` counts, which is what they do to the row as central has
    it. `names` is what the records of other rows may call this row, see `applying.parking.rows`,
    and `name` the BLAKE2b-128 digest of the first of them. `behind` is the first record of the row
    that this one waits for; 0 if a record of its own is at fault, for the reason of `code` and
    `error`. `absent`: central does not have the row. `epoch` is in hex.
    """

    source = models.ForeignKey(Source, models.PROTECT, related_name="parked")
    stream = models.CharField(max_length=100)
    epoch = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    last_seq = models.BigIntegerField()
    op = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=200)
    name = Name()
    key = models.TextField()
    names = models.BinaryField()
    layout = models.BinaryField()
    record = models.BinaryField()
    cause = models.CharField(max_length=20, choices=Cause.choices)
    behind = models.BigIntegerField(default=0)
    absent = models.BooleanField(default=False)
    code = models.CharField(max_length=50)
    error = models.TextField()
    parked_at = models.DateTimeField()
    retried_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "parked"
        constraints = [
            models.UniqueConstraint(
                fields=["source", "stream", "epoch", "model", "name"],
                name="sockstream_parked_row_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.key} (seq {self.seqs})"

    @property
    def seqs(self) -> str:
        """The records that the entry stands for: the first and the last."""
        more = f" to {self.last_seq}" if self.last_seq != self.seq else ""
        return f"{self.seq}{more}"
