"""Sources and offsets in the admin, to look at; only `disabled` is for people to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Offset, Owner, Source

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = admin.ModelAdmin


class ReadOnlyAdmin(_Admin):
    """Shows rows that only the receiver writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Source)
class SourceAdmin(ReadOnlyAdmin):
    """The sites that central knows. A person may disable one: it is refused from then on."""

    fields = ("name", "disabled", "address", "first_seen", "last_seen", "serial", "fingerprint")
    readonly_fields = ("name", "address", "first_seen", "last_seen", "serial", "fingerprint")

    list_display = ("name", "disabled", "address", "first_seen", "last_seen", "serial")
    list_filter = ("disabled",)
    search_fields = ("name",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)


@admin.register(Offset)
class OffsetAdmin(ReadOnlyAdmin):
    """How far each stream is applied, and what stopped it."""

    list_display = (
        "source",
        "stream",
        "seq",
        "state",
        "records_applied",
        "applied_at",
        "error_code",
        "error_model",
        "error_seq",
    )
    list_filter = ("state", "error_code")
    list_select_related = ("source",)
    exclude = ("epoch", "digest", "instance", "former_instance", "fence")


@admin.register(Owner)
class OwnerAdmin(ReadOnlyAdmin):
    """Which stream writes the models that have no global key."""

    list_display = ("model", "source", "stream")
    list_select_related = ("source",)
