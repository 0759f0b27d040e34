"""Series of a referrer's clicks and registrations, by days of any time zone; and what staff see of everybody's, in UTC.

What the database sums up are quarters of an hour in UTC. All time zones are whole quarters apart, so each day of one is
made of some of them, whether it has 23, 24 or 25 hours.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count, Sum
from django.db.models.functions import ExtractMinute, Floor, TruncDate, TruncHour

from referrals.models import ClickDay, Referral, ReferralCode
from users.models import User

Interval = Literal["day", "week"]
Counts = Iterator[tuple[datetime, int]]

STEP = {"day": 1, "week": 7}
USUAL = {"day": timedelta(days=29), "week": timedelta(weeks=11)}
MOST = 366
QUARTER = timedelta(minutes=15)
DAY = timedelta(days=1)


def days_of(interval: Interval, first: date, last: date) -> range:
    """The points of a series, as ordinals of days: each day, or the Monday of each week that has some of these days."""
    start = first.toordinal() - (first.weekday() if interval == "week" else 0)
    return range(start, last.toordinal() + 1, STEP[interval])


def series(
    referrer: int, *, interval: Interval, first: date, last: date, zone: ZoneInfo, using: str = DEFAULT_DB_ALIAS
) -> list[dict[str, Any]]:
    """Clicks and registrations of each day, or each whole week, from `first` to `last` in the time zone."""
    days = days_of(interval, first, last)
    points: list[dict[str, Any]] = [{"day": date.fromordinal(day), "clicks": 0, "registrations": 0} for day in days]
    # A day in UTC more on either side than any time zone is apart.
    span = date.fromordinal(days.start - 2), date.fromordinal(days[-1] + days.step + 2)
    asked = {"clicks": _clicks(referrer, *span, using), "registrations": _registrations(referrer, *span, using)}
    for name, counts in asked.items():
        for moment, count in counts:
            point = (moment.astimezone(zone).toordinal() - days.start) // days.step
            if 0 <= point < len(points):
                points[point][name] += count
    return points


def _clicks(referrer: int, first: date, last: date, using: str) -> Counts:
    days = ClickDay.objects.using(using).filter(code__owner=referrer, day__range=(first, last))
    for day, quarters in days.values_list("day", "quarters"):
        for quarter, count in quarters.items():
            yield _midnight(day) + int(quarter) * QUARTER, count


def _registrations(referrer: int, first: date, last: date, using: str) -> Counts:
    shown = Referral.objects.using(using).shown().filter(referrer=referrer)
    within = shown.filter(created_at__range=(_midnight(first), _midnight(last))).order_by()
    quarter = Floor(ExtractMinute("created_at", tzinfo=UTC) / 15.0)
    counts = within.annotate(hour=TruncHour("created_at", tzinfo=UTC), quarter=quarter).values_list("hour", "quarter")
    for hour, number, count in counts.annotate(Count("id")):
        yield hour + int(number) * QUARTER, count


def funnel(last: date, days: int) -> list[dict[str, Any]]:
    """Everybody's clicks and registrations of each of so many days in UTC, up to `last`."""
    first = last - timedelta(days=days - 1)
    clicked = ClickDay.objects.filter(day__range=(first, last)).order_by().values_list("day")
    registered = Referral.objects.filter(created_at__gte=_midnight(first), created_at__lt=_midnight(last) + DAY)
    by_day = registered.order_by().values_list(TruncDate("created_at", tzinfo=UTC))
    clicks, registrations = dict(clicked.annotate(Sum("clicks"))), dict(by_day.annotate(Count("id")))
    return [
        {"day": day, "clicks": clicks.get(day, 0), "registrations": registrations.get(day, 0)}
        for day in (first + n * DAY for n in range(days))
    ]


def top_referrers(first: date, most: int) -> list[tuple[User, int]]:
    """Who brought how many since the beginning of a day in UTC: those with the most."""
    since = Referral.objects.filter(created_at__gte=_midnight(first)).order_by()
    counts = dict(since.values_list("referrer").annotate(count=Count("id")).order_by("-count", "referrer")[:most])
    users = User.objects.in_bulk(counts)
    return [(users[pk], count) for pk, count in counts.items()]


def about_to_end(now: datetime, within: timedelta, most: int) -> list[ReferralCode]:
    """Codes that can be used, and end before long: the first to end first."""
    soon = ReferralCode.objects.usable(now).filter(expires_at__lte=now + within)
    return list(soon.select_related("owner").order_by("expires_at", "pk")[:most])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
