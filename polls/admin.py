"""Questions, choices and tags in the admin: read-only where POLLS_READ_ONLY says so."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest

from .models import Choice, Question, Tag


class Guard:
    """What a person may change here. At central that is nothing: the rows belong to the sites."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return self._writable() and super().has_add_permission(request, *args)  # type: ignore[misc]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._writable() and super().has_change_permission(request, obj)  # type: ignore[misc]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._writable() and super().has_delete_permission(request, obj)  # type: ignore[misc]

    def _writable(self) -> bool:
        return not getattr(settings, "POLLS_READ_ONLY", False)


class ChoiceInline(Guard, admin.TabularInline):  # type: ignore[type-arg]
    """The choices on their question's page."""

    model = Choice
    extra = 0


@admin.register(Question)
class QuestionAdmin(Guard, admin.ModelAdmin):  # type: ignore[type-arg]
    """Questions with their choices."""

    list_display = ("text", "published_at", "closed")
    list_filter = ("closed", "tags")
    search_fields = ("text",)
    filter_horizontal = ("tags",)
    inlines = (ChoiceInline,)


@admin.register(Tag)
class TagAdmin(Guard, admin.ModelAdmin):  # type: ignore[type-arg]
    """Tags."""

    list_display = ("name",)
    search_fields = ("name",)
