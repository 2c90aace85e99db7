"""Sources, offsets and parked records in the admin, to look at.

People rename, disable, retire and forget sources, let a stream begin anew, and retry or drop what
is parked. `manage.py oplog_source` does the same, and renames single streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from sockstream.exceptions import SockstreamError

from . import parked, parked_tables
from .models import Offset, Owner, Parked, Source
from .streams import registry
from .streams.names import Name

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
    _Form = forms.ModelForm[Source]
else:
    _Admin = admin.ModelAdmin
    _Form = forms.ModelForm


class ReadOnlyAdmin(_Admin):
    """Shows rows that only the receiver writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _act(page: _Admin, request: HttpRequest, action: Callable[[], object]) -> None:
    """Do something that may be refused in words."""
    try:
        action()
    except SockstreamError as error:
        page.message_user(request, str(error), messages.ERROR)


class SourceForm(_Form):
    """A source, and the name that it shall have."""

    new_name = forms.CharField(
        label="rename to",
        required=False,
        max_length=200,
        help_text="If the site has a certificate with another name: all that it brought follows.",
    )


@admin.register(Source)
class SourceAdmin(ReadOnlyAdmin):
    """The sites that central knows: a person may disable, rename, retire or forget one."""

    _SEEN = ("retired_at", "address", "first_seen", "last_seen", "serial", "fingerprint")
    form = SourceForm
    fields = ("name", "new_name", "disabled", *_SEEN, "not_after")
    readonly_fields = ("name", *_SEEN, "not_after")

    list_display = (
        "name",
        "disabled",
        "retired_at",
        "address",
        "first_seen",
        "last_seen",
        "not_after",
    )
    list_filter = ("disabled",)
    search_fields = ("name",)
    actions = ("retire_selected", "delete_selected")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """By the action only, which asks."""
        return obj is None and admin.ModelAdmin.has_delete_permission(self, request)

    def save_model(self, request: HttpRequest, obj: Source, form: Any, change: bool) -> None:
        name, using = Name(obj.name), str(obj._state.db)
        if "disabled" in form.changed_data:
            act = registry.disable if obj.disabled else registry.enable
            _act(self, request, partial(act, name, using=using))
        if new := form.cleaned_data["new_name"]:
            _act(self, request, partial(registry.rename, name, Name(new), using=using))

    @admin.action(description="Retire the selected sources", permissions=["change"])
    def retire_selected(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        """They are gone for good: refused, and never missed."""
        for source in queryset:
            name = Name(source.name)
            _act(self, request, partial(registry.retire, name, using=queryset.db))

    @admin.action(description="Forget the selected sources", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Source]
    ) -> HttpResponse | None:
        """Delete what central knows of them, once the page of Django's is confirmed."""
        answer: HttpResponse | None = delete_selected(self, request, queryset)
        return answer

    def get_deleted_objects(
        self, objs: Iterable[Source], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What that page lists. The rows that the sources brought stay."""
        names = [f"{source}, and where its streams stand; its rows stay" for source in objs]
        return names, {"sources": len(names)}, set(), []

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Source]) -> None:
        for source in list(queryset):
            registry.forget(Name(source.name), using=queryset.db)


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
    actions = ("adopt_selected",)
    exclude = (
        "epoch",
        "pending_epoch",
        "pending_parent",
        "digest",
        "instance",
        "former_instance",
        "fence",
        "parked_changes",
        "staged_digest",
        "staged_epoch",
        "staged_tried",
    )

    def has_adopt_permission(self, request: HttpRequest) -> bool:
        """Whether this person may let streams begin anew."""
        return admin.ModelAdmin.has_change_permission(self, request)

    @admin.action(description="Let the selected streams begin anew", permissions=["adopt"])
    def adopt_selected(self, request: HttpRequest, queryset: QuerySet[Offset]) -> None:
        """The next connection of each may bring any history."""
        for row in queryset.select_related("source"):
            name = Name(row.source.name, row.stream)
            _act(self, request, partial(registry.adopt, name, using=queryset.db))


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
        "seqs",
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
    exclude = ("name", "names", "layout", "record", "op", "absent")
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
