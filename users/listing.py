"""What the admin's lists have in common: they search by index, count no further than they show, and export rows."""

import csv
import logging
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import Error
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin

from users import audit
from users.models import AuditEvent, User

logger = logging.getLogger(__name__)

BROKEN_OFF = "THE EXPORT BROKE OFF HERE: ROWS ARE MISSING"
AT_ONCE = 1000
"""Rows that one action changes, and that one search finds."""


def people(term: str) -> QuerySet[Any]:
    """The ids of who has this username, or an address that begins so; of too many, any."""
    by_name, by_address = User.objects.filter(username__lower=term), User.objects.filter(email__startswith=term)
    return by_name.values_list("id", flat=True).union(by_address.values_list("id", flat=True), all=True)[:AT_ONCE]


def either(*rows: QuerySet[Any]) -> QuerySet[Any]:
    """The ids of the newest of these rows, each kind found by one index: no plan of a web process combines two."""
    first, *others = (found.order_by().values_list("id", flat=True) for found in rows)
    return (first.union(*others) if others else first).order_by("-id")[:AT_ONCE]


class Pages(Paginator):
    """The first pages of a list. Who looks for what is further down searches or filters."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by().values("pk")[: self.MOST].count()


class Line:
    """What a CSV writer writes to: hands each line back."""

    def write(self, line: str) -> str:
        return line


def cell(value: Any) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    text = value.isoformat() if isinstance(value, datetime) else "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def csv_lines(names: Iterable[str], rows: Iterable[Any]) -> Iterator[str]:
    """The lines of a CSV file (RFC 4180) with these attributes of the rows.

    Where the database fails half-way the last line says so: what was sent before looks whole, whatever the server does.
    """
    names, writer = list(names), csv.writer(Line())
    yield cast(str, writer.writerow(names))
    try:
        for row in rows:
            yield cast(str, writer.writerow([cell(getattr(row, name)) for name in names]))
    except Error as error:
        logger.error("an export broke off: %s", type(error).__name__)
        yield cast(str, writer.writerow([BROKEN_OFF]))


def newest_first(rows: QuerySet[Any]) -> Iterator[Any]:
    """The rows, a piece at a time: none waits in memory, and the database keeps nothing open."""
    rows = rows.order_by("-pk")
    piece = list(rows[:AT_ONCE])
    while piece:
        yield from piece
        piece = list(rows.filter(pk__lt=piece[-1].pk)[:AT_ONCE])


class StaffAdmin(ModelAdmin):
    """A list whose address filters by what the list offers, and spells out nothing else of its rows.

    `search_fields` says what can be searched for; how, says `find`.
    """

    actions: Any = ("export",)
    search_help_text: ClassVar[Any] = None
    linked_by: tuple[str, ...] = ()  # columns by which links of other pages filter
    list_per_page = 50
    ordering: ClassVar[Any] = ("-id",)
    paginator: ClassVar[Any] = Pages
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count all rows
    sortable_by: ClassVar[Any] = ()  # few columns have an index

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        field = lookup.split("__")[0]
        entries = [entry[0] if isinstance(entry, tuple) else entry for entry in self.get_list_filter(request)]
        offered = [getattr(entry, "parameter_name", entry) for entry in entries]
        if lookup in self.linked_by:
            return re.fullmatch("[0-9]{1,18}", value) is not None  # no number that a database would choke on
        return field in offered and super().lookup_allowed(lookup, value, request)

    def find(self, term: str) -> QuerySet[Any]:
        """The ids of what a search finds, as `either` gives them."""
        raise NotImplementedError  # who has no search_fields is never asked

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().lower()
        return (queryset.filter(pk__in=list(self.find(term))) if term and self.search_fields else queryset), False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may do what an action does: with the right to change, though no form changes anything."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def few(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """The rows that an action changes; none where they are too many for one transaction."""
        rows = list(queryset[: AT_ONCE + 1])
        if len(rows) <= AT_ONCE:
            return rows
        told = gettext("Too many at once: choose %(most)d at most.") % {"most": AT_ONCE}
        self.message_user(request, told, messages.ERROR)
        return []

    @admin.action(description=_("Export as CSV"), permissions=["act"])
    def export(self, request: HttpRequest, queryset: QuerySet[Any]) -> StreamingHttpResponse:
        name = self.opts.model_name
        audit.record(
            AuditEvent.Kind.DATA_EXPORTED, by=cast(User, request.user), rows=f"{queryset.count()} {self.opts.label}"
        )
        lines = csv_lines(["pk", *map(str, self.list_display)], newest_first(queryset))
        told = {"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": "no-store"}
        return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=told)


class ReadOnlyAdmin(StaffAdmin):
    """Rows to look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
