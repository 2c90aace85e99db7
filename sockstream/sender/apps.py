"""The Django app of a site."""

from __future__ import annotations

from django.apps import AppConfig


class SenderConfig(AppConfig):
    """Captures the writes of a site and sends them to central."""

    name = "sockstream.sender"
    label = "sockstream_sender"
    verbose_name = "sockstream sender"
    default_auto_field = "django.db.models.BigAutoField"
