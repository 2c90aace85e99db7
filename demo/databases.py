"""Both databases, read by the demo's own process: it sees what their processes have committed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import dj_database_url
import django
from django.conf import settings
from django.db import connections
from django.db.models import Model

SITE = "site"
CENTRAL = "central"


def configure(site_url: str, central_url: str) -> None:
    """Set Django up in this process, with both databases side by side; once."""
    settings.configure(
        DATABASES={
            "default": {},
            SITE: dj_database_url.parse(site_url),
            CENTRAL: dj_database_url.parse(central_url),
        },
        INSTALLED_APPS=["polls", "sockstream.sender", "sockstream.receiver"],
        SOCKSTREAM={"MODELS": ["polls"]},
        USE_TZ=True,
    )
    django.setup()


@dataclass(frozen=True)
class Standing:
    """How far everything is. `captured` counts what is written and has no number yet.

    `error` is the sender's trouble, `stopped` why central applies no more.
    """

    site_rows: int = 0
    central_rows: int = 0
    captured: int = 0
    seq: int = 0
    acked: int = 0
    offset: int = 0
    site_digest: bytes = b""
    central_digest: bytes = b""
    error: str = ""
    stopped: str = ""

    @property
    def written(self) -> int:
        """The records that the site has made so far."""
        return self.seq + self.captured

    @property
    def waiting(self) -> int:
        """Those of them that central has not applied."""
        return self.written - self.offset

    @property
    def arrived(self) -> bool:
        """Whether both ends stand at the same position, and nothing waits."""
        return self.waiting == 0 and self.site_digest == self.central_digest


@cache
def models() -> list[type[Model]]:
    """The models that are sent, their automatic m2m tables among them."""
    from sockstream.conf import settings as sockstream_settings
    from sockstream.rows import captured_models

    return captured_models(sockstream_settings())


def standing() -> Standing:
    """How far everything is now.

    Central is asked before the site, and what has no number yet before what has one: a record
    that moves on meanwhile may be counted twice, but is never left out.
    """
    from sockstream.receiver.models import Offset, State
    from sockstream.sender.models import Capture, Stream

    offset = Offset.objects.using(CENTRAL).first() or Offset(digest=b"")
    central_rows = _rows(CENTRAL)
    captured = Capture.objects.using(SITE).count()
    stream = Stream.objects.using(SITE).first() or Stream(digest=b"")
    return Standing(
        site_rows=_rows(SITE),
        central_rows=central_rows,
        captured=captured,
        seq=stream.seq,
        acked=stream.acked_seq,
        offset=offset.seq,
        site_digest=bytes(stream.digest),
        central_digest=bytes(offset.digest),
        error=stream.error,
        stopped=offset.error if offset.state == State.STOPPED else "",
    )


@dataclass(frozen=True)
class Applied:
    """What central has counted.

    `met`: records that found a row at central which was not as the one before had left it.
    """

    records: int
    met: int


def applied() -> Applied:
    """What central has counted. Raises Offset.DoesNotExist if no site was there yet."""
    from sockstream.receiver.models import Offset

    offset = Offset.objects.using(CENTRAL).get()
    met = offset.inserts_met + offset.updates_missed + offset.deletes_missed
    return Applied(offset.records_applied, met)


def tamper() -> str:
    """Change one field of one row at central, as nobody should. Returns what was changed."""
    from polls.models import Question

    question = Question.objects.using(CENTRAL).latest("published_at")
    question.text = "What did somebody do here?"
    question.save(using=CENTRAL)
    return f"the text of question {question.pk}"


def close() -> None:
    """End this process's connections."""
    connections.close_all()


def _rows(alias: str) -> int:
    return sum(model._base_manager.using(alias).count() for model in models())
