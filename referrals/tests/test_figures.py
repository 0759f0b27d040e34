"""The series of a summary, held to a slow and obvious count, and how it is asked for."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from config.tests.operations import undone
from referrals import figures, services
from referrals.models import Click, Referral
from referrals.tests.factories import make_code, make_referral
from users.models import User
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db

# Around a change of the clock in each of them: of an hour, of half an hour, at midnight, and where quarters matter.
CHANGES = {
    "Europe/Berlin": date(2030, 3, 31),
    "America/New_York": date(2030, 11, 3),
    "Australia/Lord_Howe": date(2030, 4, 7),
    "Africa/Cairo": date(2030, 4, 26),
    "Asia/Kathmandu": date(2030, 6, 1),
    "Pacific/Kiritimati": date(2030, 6, 1),
    "Etc/GMT+12": date(2030, 6, 1),
    "UTC": date(2030, 1, 1),
}


@pytest.fixture
def world():
    """Somebody with two codes, and somebody else, whose figures are their own."""
    ada = make_user()
    old = make_code(ada, expires_at=datetime(2031, 1, 1, tzinfo=UTC))
    services.retire_code(ada)
    return ada, [old, make_code(ada, expires_at=datetime(2031, 1, 1, tzinfo=UTC))], make_code()


def have_clicked(code, moments):
    clicks = [Click(code=code, clicked_at=moment, device="phone", visitor=f"{n}") for n, moment in enumerate(moments)]
    if clicks:
        services.count_clicks(clicks)


def obvious(moments, zone, interval, first, last):
    """Count by asking each moment which day it is."""
    wanted = [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]
    if interval == "week":
        monday = first - timedelta(days=first.weekday())
        wanted = [monday + timedelta(weeks=ahead) for ahead in range((last - monday).days // 7 + 1)]
    days = [moment.astimezone(zone).date() for moment in moments]
    if interval == "week":
        days = [day - timedelta(days=day.weekday()) for day in days]
    found = Counter(days)
    return [(day, found[day]) for day in wanted]


@given(data=st.data())
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_series_equals_a_slow_and_obvious_count_in_any_time_zone(world, data):
    """Each example is undone, so that one world does for all."""
    ada, codes, others = world
    name = data.draw(st.sampled_from(sorted(CHANGES)))
    zone, change = ZoneInfo(name), datetime.combine(CHANGES[name], datetime.min.time(), UTC)
    near = st.timedeltas(timedelta(days=-3), timedelta(days=3)).map(lambda apart: change + apart)
    far = st.timedeltas(timedelta(days=-40), timedelta(days=40)).map(lambda apart: change + apart)
    clicked = data.draw(st.lists(near | far, max_size=30))
    registered = data.draw(st.lists(near | far, max_size=4))
    interval = data.draw(st.sampled_from(["day", "week"]))
    first = CHANGES[name] - timedelta(days=data.draw(st.integers(0, 10)))
    last = CHANGES[name] + timedelta(days=data.draw(st.integers(0, 10)))
    with undone():
        have_clicked(codes[0], clicked[::2])
        have_clicked(codes[1], clicked[1::2])
        have_clicked(others, clicked)
        for moment in registered:
            Referral.objects.filter(pk=make_referral(codes[1]).pk).update(created_at=moment)
        found = figures.series(ada.pk, interval=interval, first=first, last=last, zone=zone)
    assert [(point["day"], point["clicks"]) for point in found] == obvious(clicked, zone, interval, first, last)
    expected = obvious(registered, zone, interval, first, last)
    assert [(point["day"], point["registrations"]) for point in found] == expected


@pytest.mark.parametrize("name", CHANGES)
def test_a_day_is_that_of_the_time_zone_from_its_first_to_its_last_moment(world, name):
    ada, codes, _others = world
    zone, day = ZoneInfo(name), CHANGES[name] + timedelta(days=1)
    begins, ends = (datetime.combine(it, time.min, zone).astimezone(UTC) for it in (day, day + timedelta(days=1)))
    moment = timedelta(microseconds=1)
    moments = [begins - moment, begins, begins + moment, ends - moment, ends]
    have_clicked(codes[0], moments)
    for at in moments:
        Referral.objects.filter(pk=make_referral(codes[1]).pk).update(created_at=at)
    found = figures.series(ada.pk, interval="day", first=day, last=day, zone=zone)
    assert found == [{"day": day, "clicks": 3, "registrations": 3}]


@given(data=st.data())
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_staff_see_of_everybody_equals_a_slow_and_obvious_count(world, data):
    """Days are those of UTC, whatever the time zone of who asks and whatever happens to its clock."""
    _ada, codes, others = world
    name = data.draw(st.sampled_from(sorted(CHANGES)))
    change = datetime.combine(CHANGES[name], datetime.min.time(), UTC)
    moments = st.timedeltas(timedelta(days=-6), timedelta(days=6)).map(lambda apart: change + apart)
    clicked = data.draw(st.lists(moments, max_size=20))
    registered = data.draw(st.lists(st.tuples(st.sampled_from([codes[1], others]), moments), max_size=5))
    last = CHANGES[name] + timedelta(days=data.draw(st.integers(-3, 7)))
    first = last - timedelta(days=data.draw(st.integers(0, 9)))
    with undone(), timezone.override(ZoneInfo(name)), CaptureQueriesContext(connection) as queries:
        have_clicked(codes[0], clicked[::2])
        have_clicked(others, clicked[1::2])
        for code, moment in registered:
            Referral.objects.filter(pk=make_referral(code).pk).update(created_at=moment)
        before = len(queries)
        days = figures.funnel(last, (last - first).days + 1)
        top = figures.top_referrers(first, 5)
        assert len(queries) - before == 3 + bool(top)
    came = [moment for _code, moment in registered]
    assert [(day["day"], day["clicks"]) for day in days] == obvious(clicked, UTC, "day", first, last)
    assert [(day["day"], day["registrations"]) for day in days] == obvious(came, UTC, "day", first, last)
    counts = Counter(code.owner_id for code, moment in registered if moment.date() >= first)
    assert [(user.pk, count) for user, count in top] == sorted(counts.items(), key=lambda one: (-one[1], one[0]))


@given(ends=st.lists(st.integers(-3, 12), max_size=12), now=st.integers(0, 3))
@hypothesis_settings(max_examples=30)
def test_the_codes_about_to_end_are_those_that_a_slow_and_obvious_look_finds(ends, now):
    with undone():
        made = [make_code(expires_at=timezone.now() + timedelta(days=20, hours=hours)) for hours in ends]
        if made[3:]:
            services.retire_code(made[0].owner)
            User.objects.filter(pk=made[1].owner_id).update(is_active=False)
            made = made[2:]
        at = timezone.now() + timedelta(days=20, hours=now, minutes=-1)
        found = figures.about_to_end(at, timedelta(hours=5), 3)
    soon = [code for code in made if at < code.expires_at <= at + timedelta(hours=5)]
    assert found == sorted(soon, key=lambda code: (code.expires_at, code.pk))[:3]


def test_the_summary_has_the_series_that_is_asked_for(as_user, world):
    ada, codes, _others = world
    night = datetime(2030, 6, 1, 22, 30, tzinfo=UTC)
    have_clicked(codes[1], [night, night + timedelta(hours=1), night + timedelta(days=9)])
    Referral.objects.filter(pk=make_referral(codes[1]).pk).update(created_at=night)
    client, path = as_user(ada), f"/api/referrals/{ada.pk}/summary/"
    plain = client.get(path).json()
    assert (plain["clicks"], plain["conversion_rate"], plain["series"]) == (3, 0.3333, [])

    ask = {"interval": "day", "from": "2030-06-01", "to": "2030-06-03", "tz": "Europe/Berlin"}
    assert client.get(path, ask).json()["series"] == [
        {"day": "2030-06-01", "clicks": 0, "registrations": 0},
        {"day": "2030-06-02", "clicks": 2, "registrations": 1},
        {"day": "2030-06-03", "clicks": 0, "registrations": 0},
    ]
    assert client.get(path, ask | {"interval": "week", "to": "2030-06-10"}).json()["series"] == [
        {"day": "2030-05-27", "clicks": 2, "registrations": 1},
        {"day": "2030-06-03", "clicks": 0, "registrations": 0},
        {"day": "2030-06-10", "clicks": 1, "registrations": 0},
    ]


@pytest.mark.parametrize(("interval", "points"), [("day", 30), ("week", 12)])
def test_where_no_days_are_named_the_series_ends_today(as_user, interval, points):
    user = make_user()
    [*_, last] = series = (
        as_user(user).get(f"/api/referrals/{user.pk}/summary/", {"interval": interval}).json()["series"]
    )
    today = datetime.now(UTC).date()
    assert len(series) == points
    assert last["day"] in {str(today - timedelta(days=ago)) for ago in ((0, 1) if interval == "day" else range(8))}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"interval": "month"}, "interval"),
        ({"from": "2030-01-01"}, "interval"),
        ({"tz": "UTC"}, "interval"),
        ({"interval": "day", "tz": "Europe/Atlantis"}, "tz"),
        ({"interval": "day", "tz": "../../etc/passwd"}, "tz"),
        ({"interval": "day", "from": "2030-1-1"}, "from"),
        ({"interval": "day", "from": "2030-02-30"}, "from"),
        ({"interval": "day", "to": "1999-12-31"}, "to"),
        ({"interval": "day", "to": "3000-01-01"}, "to"),
        ({"interval": "day", "from": "2030-01-02", "to": "2030-01-01"}, "from"),
        ({"interval": "day", "from": "2030-01-01", "to": "2031-01-02"}, "from"),
        ({"interval": "week", "from": "2000-01-01", "to": "2999-12-31"}, "from"),
    ],
)
def test_a_series_that_cannot_be_is_refused_by_the_parameter_at_fault(as_user, query, field):
    """B12"""
    user = make_user()
    response = as_user(user).get(f"/api/referrals/{user.pk}/summary/", query)
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "days", [("2030-01-01", "2031-01-01"), ("2000-01-01", "2000-01-01"), ("2999-12-31", "2999-12-31")]
)
def test_the_longest_series_and_the_first_and_the_last_day(as_user, days):
    """B12"""
    user = make_user()
    query = {"interval": "day", "from": days[0], "to": days[1], "tz": "Pacific/Kiritimati"}
    response = as_user(user).get(f"/api/referrals/{user.pk}/summary/", query)
    assert response.status_code == 200
    assert len(response.json()["series"]) == (366 if days[0] == "2030-01-01" else 1)
