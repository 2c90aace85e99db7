"""The example app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class PollsConfig(AppConfig):
    """Questions with choices and tags."""

    name = "polls"
