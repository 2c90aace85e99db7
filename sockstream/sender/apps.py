"""The Django app of a site."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks as django_checks
from django.db.models.signals import post_migrate

from sockstream.process import ignore_hangups


class SenderConfig(AppConfig):
    """Captures the writes of a site and sends them to central."""

    name = "sockstream.sender"
    label = "sockstream_sender"
    verbose_name = "sockstream sender"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Before the models are imported, which takes most of the time until the command runs.
        ignore_hangups("oplog_send")

    def ready(self) -> None:
        from . import capture, checks
        from .capture import migrating

        django_checks.register(checks.check_models, django_checks.Tags.models)
        django_checks.register(checks.check_homes, django_checks.Tags.models)
        django_checks.register(checks.check_revocations, django_checks.Tags.security)
        django_checks.register(checks.check_databases, django_checks.Tags.database)
        migrating.watch()
        post_migrate.connect(migrating.end, sender=self, dispatch_uid="sockstream.sender.end")
        capture.start()
