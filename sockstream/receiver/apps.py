"""The Django app of central."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks as django_checks

from sockstream.process import ignore_hangups


class ReceiverConfig(AppConfig):
    """Applies the streams of the sites."""

    name = "sockstream.receiver"
    label = "sockstream_receiver"
    verbose_name = "sockstream receiver"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Before the models are imported, which takes most of the time until the command runs.
        ignore_hangups("oplog_receive")

    def ready(self) -> None:
        from . import checks

        django_checks.register(checks.check_models, django_checks.Tags.models)
        django_checks.register(checks.check_homes, django_checks.Tags.models)
        django_checks.register(checks.check_revocations, django_checks.Tags.security)
        django_checks.register(checks.check_databases, django_checks.Tags.database)
