"""Cards on the pages of the admin: what staff see at a glance, each for who may see the rows behind it."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from django.db import OperationalError
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, localize
from django.utils.translation import gettext as _
from psycopg.errors import QueryCanceled

from referrals import figures
from referrals.models import Click, Referral, ReferralCode
from users.models import AuditEvent, OutgoingEmail, User

T = TypeVar("T")

DAYS = 30
SOON = timedelta(days=7)
ROWS = 8
PAGE = 20


class Row(NamedTuple):
    text: str
    link: str  # empty for who may not follow it
    notes: list[str]


class Card(NamedTuple):
    title: str
    rows: list[Row]
    more: str = ""  # where there are all of them


class Chart(NamedTuple):
    title: str
    sums: list[str]  # of these days, and of those before
    lines: str  # for Chart.js


class Viewer:
    """Who looks: what they may see, and links to it."""

    def __init__(self, request: HttpRequest) -> None:
        self.user = request.user

    def may_see(self, *models: type[Model]) -> bool:
        return all(self.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}") for model in models)

    def row(self, row: Model, *notes: str, text: str = "") -> Row:
        link = _address(row, "change", row.pk) if self.may_see(type(row)) else ""
        return Row(text or str(row), link, [note for note in notes if note])


def show_overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Give the start page of the admin its charts and cards: Unfold calls this."""
    now, viewer = timezone.now(), Viewer(request)
    today = now.astimezone(UTC).date()
    return context | {
        "charts": in_time(charts, today) if viewer.may_see(Click, Referral) else [],
        "chart_days": DAYS,
        "cards": list(overview(now, today, viewer)),
    }


def about(user: User, request: HttpRequest) -> list[Card]:
    """What the page of an account shows beside it: code, who brought them, whom they brought, audit rows."""
    return list(_about(user, Viewer(request)))


def in_time(sum_up: Callable[..., list[T]], *args: Any) -> list[T]:
    """What is summed up; nothing where that takes longer than a web process lets it: the page has more to show."""
    try:
        return sum_up(*args)
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            return []
        raise


def _address(model: type[Model] | Model, page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def _list(model: type[Model], query: str = "") -> str:
    return _address(model, "changelist") + query


def _moment(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT")


def _ends(code: ReferralCode) -> str:
    return _("ends %(moment)s") % {"moment": _moment(code.expires_at)}


def charts(today: date) -> list[Chart]:
    """Clicks, registrations, and how many of the first became the second, beside as many days before these."""
    days = figures.funnel(today, 2 * DAYS)
    before, these = days[:DAYS], days[DAYS:]
    clicks, registrations = (
        [sum(day[name] for day in part) for part in (these, before)] for name in ("clicks", "registrations")
    )
    rates = [
        f"{localize(round(100 * came / clicked, 1))}%" if clicked else "–"
        for clicked, came in zip(clicks, registrations, strict=True)
    ]
    return [
        Chart(_("Registrations per click"), rates, ""),
        Chart(_("Clicks on share links"), [localize(part) for part in clicks], _lines(these, before, "clicks")),
        Chart(_("Registrations"), [localize(part) for part in registrations], _lines(these, before, "registrations")),
    ]


def _lines(these: list[dict[str, Any]], before: list[dict[str, Any]], name: str) -> str:
    def line(title: str, days: list[dict[str, Any]], color: str, **more: Any) -> dict[str, Any]:
        return {"label": title, "data": [day[name] for day in days], "borderColor": f"var({color})", **more}

    lines = [
        line(_("These days"), these, "--line-now", displayYAxis=True),
        line(_("The days before"), before, "--line-before", borderDash=[4, 4]),
    ]
    return json.dumps({"labels": [date_format(day["day"], "j M") for day in these], "datasets": lines})


def overview(now: datetime, today: date, viewer: Viewer) -> Iterator[Card]:
    if viewer.may_see(Referral):
        top = in_time(figures.top_referrers, today - timedelta(days=DAYS - 1), ROWS)
        rows = [viewer.row(user, localize(count)) for user, count in top]
        yield Card(_("Top referrers"), rows, _list(Referral))
    if viewer.may_see(ReferralCode):
        rows = [viewer.row(code, code.owner.username, _ends(code)) for code in figures.about_to_end(now, SOON, ROWS)]
        yield Card(_("Codes that end within a week"), rows, _list(ReferralCode, "?state=active"))
    if viewer.may_see(OutgoingEmail):
        failed = OutgoingEmail.objects.filter(failed_at__isnull=False).order_by("-id")[:ROWS]
        rows = [viewer.row(mail, mail.to, mail.last_error, _moment(mail.created_at)) for mail in failed]
        yield Card(_("E-mails given up"), rows, _list(OutgoingEmail, "?state=failed"))
    if viewer.may_see(AuditEvent):
        newest = AuditEvent.objects.select_related("user", "actor").order_by("-id")[:ROWS]
        yield Card(_("What happened last"), _events(newest, viewer), _list(AuditEvent))


def _events(events: Iterable[AuditEvent], viewer: Viewer) -> list[Row]:
    def by(event: AuditEvent) -> str:
        return _("by %(name)s") % {"name": event.actor} if event.actor else ""

    return [viewer.row(event, str(event.user or ""), by(event), _moment(event.created_at)) for event in events]


def _about(user: User, viewer: Viewer) -> Iterator[Card]:
    of = f"={user.pk}"
    if viewer.may_see(ReferralCode):
        code = ReferralCode.objects.filter(owner=user, retired_at=None).first()
        yield Card(_("Code"), [viewer.row(code, _ends(code))] if code else [], _list(ReferralCode, f"?owner{of}"))
    if viewer.may_see(Referral):
        came = Referral.objects.filter(referred=user).select_related("referrer", "code").first()
        rows = [viewer.row(came.referrer, came.code.code, _moment(came.created_at))] if came else []
        yield Card(_("Referred by"), rows)
        brought = Referral.objects.filter(referrer=user).select_related("referred", "code").order_by("-id")[:PAGE]
        rows = [viewer.row(row.referred, row.code.code, _moment(row.created_at)) for row in brought]
        yield Card(_("Referrals"), rows, _list(Referral, f"?referrer{of}"))
    if viewer.may_see(AuditEvent):
        events = AuditEvent.objects.filter(user=user).select_related("user", "actor").order_by("-id")[:PAGE]
        rows = [row._replace(notes=row.notes[1:]) for row in _events(events, viewer)]
        yield Card(_("What happened"), rows, _list(AuditEvent, f"?user{of}"))
