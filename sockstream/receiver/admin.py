"""Sources, offsets and parked records in the admin, to look at.

People change `disabled`, and retry or drop what is parked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from sockstream.exceptions import SockstreamError

from . import parked, parked_tables
from .models import Offset, Owner, Parked, Source

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

    _SEEN = ("address", "first_seen", "last_seen", "serial", "fingerprint", "not_after")
    fields = ("name", "disabled", *_SEEN)
    readonly_fields = ("name", *_SEEN)

    list_display = ("name", "disabled", "address", "first_seen", "last_seen", "not_after")
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
        "parked",
        "applied_at",
        "error_code",
        "error_model",
        "error_seq",
    )
    list_filter = ("state", "error_code")
    list_select_related = ("source",)
    exclude = (
        "epoch",
        "pending_epoch",
        "digest",
        "instance",
        "former_instance",
        "fence",
        "parked_changes",
    )


@admin.register(Owner)
class OwnerAdmin(ReadOnlyAdmin):
    """Which stream writes the models that have no global key."""

    list_display = ("model", "source", "stream")
    list_select_related = ("source",)


@admin.register(Parked)
class ParkedAdmin(ReadOnlyAdmin):
    """The records that could not be applied: looked at, tried again, dropped.

    To retry asks for the right to change parked records, to drop for that to delete them.
    """

    list_display = (
        "id",
        "source",
        "stream",
        "seq",
        "operation",
        "model",
        "key",
        "why",
        "parked_at",
    )
    list_filter = ("source", "model", "cause", "code")
    list_select_related = ("source",)
    search_fields = ("key",)
    ordering = ("source", "stream", "id")
    exclude = ("names", "layout", "record", "op", "absent")
    readonly_fields = ("operation", "values")
    actions = ("retry_selected", "delete_selected")

    @admin.display(description="op")
    def operation(self, obj: Parked) -> str:
        """What the record does to its row."""
        return parked_tables.OPS[obj.op]

    @admin.display
    def why(self, obj: Parked) -> str:
        """Why it is parked."""
        return parked_tables.why(obj)

    @admin.display
    def values(self, obj: Parked) -> SafeString:
        """The fields of the record."""
        return format_html_join("", "<div><b>{}</b>: {}</div>", parked_tables.values(obj))

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether this person may let records be applied."""
        return admin.ModelAdmin.has_change_permission(self, request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """By the action only, which looks for what waits behind."""
        return obj is None and admin.ModelAdmin.has_delete_permission(self, request)

    @admin.action(description="Retry the selected records", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Parked]) -> None:
        """Apply them, and what waits behind them."""
        try:
            outcome = parked.retry(queryset.db, set(queryset.values_list("pk", flat=True)))
        except SockstreamError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        words = f"{outcome.applied} records are applied, {len(outcome.parked)} stay parked."
        level = messages.WARNING if outcome.parked else messages.SUCCESS
        self.message_user(request, words, level)

    @admin.action(description="Drop the selected records", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Parked]
    ) -> HttpResponse | None:
        """Delete them for good, once the page of Django's that lists them is confirmed."""
        try:
            answer: HttpResponse | None = delete_selected(self, request, queryset)
        except SockstreamError as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        return answer

    def get_deleted_objects(
        self, objs: Iterable[Parked], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What that page lists; what waits behind the records and is not selected forbids it."""
        chosen = list(objs)
        ids = {row.pk for row in chosen}
        using = chosen[0]._state.db if chosen else None
        behind = parked.with_dependents(using, ids) if using else []
        others = [str(row) for row in behind if row.pk not in ids]
        names = [str(row) for row in chosen]
        return names, {"parked": len(names)}, set(), others

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Parked]) -> None:
        parked.drop(queryset.db, set(queryset.values_list("pk", flat=True)))
