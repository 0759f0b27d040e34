"""Clicks on share links: who counts and how often, what is kept, how it is written, and the cookie that remembers."""

from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from referrals import clicks, services
from referrals.models import Click, ClickDay
from referrals.tests.factories import make_code
from users.retention import delete_what_is_over
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)


@pytest.fixture
def code():
    return make_code(make_user(username="ada"), expires_at=NOON + YEAR, wish="ADA-2030")


@pytest.fixture
def at(monkeypatch):
    """Sets the clock by which clicks are counted, to a moment that is so long after noon."""

    def at(**after: int) -> None:
        monkeypatch.setattr("django.utils.timezone.now", lambda: NOON + timedelta(**after))

    at()
    return at


def click(client, path: str = "/r/ADA-2030", agent: str = DESKTOP, address: str = "192.0.2.1", **headers: str):
    return client.get(path, REMOTE_ADDR=address, headers={"User-Agent": agent} | headers)


def counted() -> int:
    clicks.flush()
    assert sum(ClickDay.objects.values_list("clicks", flat=True)) == Click.objects.count()
    return Click.objects.count()


# --- Who counts ---


def test_a_click_is_a_row_that_says_nothing_of_who_it_was(client, code):
    """R11, P3, P4"""
    click(client, "/r/ada2o30?utm_source=News&utm_medium=mail", PHONE, Referer="https://blog.example.com/a?b=ada@x.io")
    assert counted() == 1
    row = Click.objects.values().get()
    assert row.items() >= {"code_id": code.pk, "channel": "news", "site": "blog.example.com", "device": "phone"}.items()
    for secret in ("192.0.2.1", "iPhone", "ada@x.io"):
        assert secret not in str(row)


@pytest.mark.parametrize("query", ["", "?redirect=1"])
def test_the_way_straight_on_counts_as_the_page_does(client, settings, code, query):
    """R11"""
    settings.SIGNUP_URL = "https://app.example.com/join"
    click(client, f"/r/ADA-2030{query}")
    assert counted() == 1


@pytest.mark.parametrize(
    "agent",
    [
        "",
        " ",
        "TelegramBot (like TwitterBot)",
        "WhatsApp/2.23.20.0",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
        "Mozilla/5.0 (compatible; vkShare; +http://vk.com/dev/Share)",
        "Mozilla/5.0 (Macintosh) Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
        "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/130.0.0.0 Safari/537.36",
        "curl/8.5.0",
        "python-requests/2.32",
        "Go-http-client/2.0",
    ],
)
def test_a_program_never_counts_and_still_sees_the_page(client, settings, code, agent):
    """R11"""
    settings.SIGNUP_URL = "https://app.example.com/join"
    page, on = click(client, agent=agent), click(client, "/r/ADA-2030?redirect=1", agent)
    assert (page.status_code, on.status_code, counted()) == (200, 307, 0)
    assert not page.cookies
    assert not on.cookies


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) Chrome/130.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) Chrome/130.0 Mobile Safari/537.36 Telegram-Android/11.4.2",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148 Instagram 300.0 [FBAN/FBIOS]",
    ],
)
def test_a_person_in_whatever_browser_counts(client, code, agent):
    click(client, agent=agent)
    assert counted() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
        {"X-Purpose": "preview"},
        {"Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Dest": "empty"},
    ],
)
def test_what_nobody_looks_at_never_counts_and_is_not_remembered(client, code, headers):
    """R11, R12"""
    assert not click(client, **headers).cookies
    assert counted() == 0


def test_a_head_never_counts(client, code):
    """R11"""
    response = client.head("/r/ADA-2030", headers={"User-Agent": DESKTOP})
    assert (response.status_code, counted()) == (200, 0)
    assert not response.cookies


def test_no_click_is_counted_of_a_code_that_cannot_be_used(client, code):
    services.retire_code(code.owner)
    assert not click(client).cookies
    assert counted() == 0


def test_the_owners_own_click_never_counts(client, code):
    """R12"""
    client.force_login(code.owner)
    assert not click(client).cookies
    assert counted() == 0
    client.force_login(make_user())
    click(client)
    assert counted() == 1


# --- How often ---


def test_a_visitor_counts_once_in_any_half_hour(client, code, at):
    """R11"""
    totals = []
    for minutes in (0, 1, 29, 31, 59, 61, 62):
        at(minutes=minutes)
        click(client)
        totals.append(counted())
    assert totals == [1, 1, 1, 2, 2, 3, 3]


def test_clicks_that_are_written_together_count_as_if_they_came_one_by_one(client, code, at):
    """R11"""
    for minutes in (62, 0, 31, 1, 29, 59, 61):
        at(minutes=minutes)
        click(client)
    assert counted() == 3


def test_another_link_another_address_and_another_agent_count_by_themselves(client, code, at):
    """R11"""
    other = make_code(expires_at=NOON + YEAR)
    for _twice in range(2):
        click(client)
        click(client, f"/r/{other.code}")
        click(client, address="192.0.2.2")
        click(client, agent=PHONE)
    assert counted() == 4


def test_a_pseudonym_is_good_for_a_day(client, code, at):
    """P4: what somebody did yesterday cannot be told to be theirs."""
    for hours in (0, 6, 24):
        at(hours=hours)
        click(client)
    clicks.flush()
    first, second, third = Click.objects.order_by("clicked_at").values_list("visitor", flat=True)
    assert first == second != third
    assert len(first) == 16


def test_a_pseudonym_is_keyed(client, code, at, settings):
    click(client)
    settings.SECRET_KEY = "another" * 10
    click(client)
    assert counted() == 2


@pytest.mark.parametrize(
    ("query", "channel"),
    [
        ("ch=Newsletter", "newsletter"),
        ("ch=spring sale 2030", "spring sale 2030"),
        ("ch=Рассылка", "рассылка"),
        ("utm_source=x&ch=y", "y"),
        ("utm_campaign=spring&utm_medium=mail", "mail"),
        ("ch=ada@example.com", ""),
        ("ch=<script>&utm_source=x", "x"),
        ("ch=" + "x" * 65, ""),
        ("ch=" + "İ" * 40, ""),  # in lower case it is twice as long
        ("ch=%ED%A0%80&utm_source=a%0ab", ""),
        ("", ""),
    ],
)
def test_a_link_says_what_it_is_in(client, code, query, channel):
    click(client, f"/r/ADA-2030?{query}")
    clicks.flush()
    assert Click.objects.get().channel == channel


@pytest.mark.parametrize(
    ("referer", "site"),
    [
        ("https://BLOG.example.com:8443/x", "blog.example.com"),
        ("android-app://org.telegram.messenger/", "org.telegram.messenger"),
        ("http://127.0.0.1:8000/r/OTHER", ""),
        ("https://[broken", ""),
        ("https://x y/", ""),
        (f"https://{'a' * 300}.example/", ""),
        ("about:blank", ""),
    ],
)
def test_where_a_link_was_is_a_host_and_no_more(client, code, referer, site):
    click(client, Referer=referer)
    clicks.flush()
    assert Click.objects.get().site == site


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (PHONE, "phone"),
        (DESKTOP, "desktop"),
        ("Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) Mobile/15E148", "tablet"),
        ("Mozilla/5.0 (Linux; Android 14; SM-X710) Chrome/130.0 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/130.0 Mobile Safari/537.36", "phone"),
        ("Something/1.0", "other"),
    ],
)
def test_a_device_is_of_one_of_four_kinds(agent, device):
    assert clicks.device_of(agent) == device


# --- No flood, no wait ---


def test_a_flood_raises_a_sum_and_fills_no_table(client, code, at, monkeypatch):
    """R11"""
    monkeypatch.setattr(services, "CLICKS_KEPT_A_DAY", 3)
    for number in range(8):
        click(client, address=f"192.0.2.{number}")
        if number == 4:
            clicks.flush()
    clicks.flush()
    assert (Click.objects.count(), ClickDay.objects.get().clicks) == (3, 8)
    at(days=1)
    click(client)
    clicks.flush()
    assert (Click.objects.count(), ClickDay.objects.count()) == (4, 2)


def test_a_page_asks_the_database_no_more_for_its_click(client, code):
    """R11"""
    for agent in ("", DESKTOP):
        with CaptureQueriesContext(connection) as captured:
            assert click(client, agent=agent).status_code == 200
        assert len(captured) == 1


def test_however_many_clicks_are_written_by_the_same_few_queries(client, code):
    queries = []
    for many in (1, 40):
        for number in range(many):
            click(client, address=f"192.0.{many}.{number}")
        with CaptureQueriesContext(connection) as captured:
            clicks.flush()
        queries.append(len(captured))
    assert queries[0] == queries[1] <= 7


def test_where_too_many_wait_the_rest_is_dropped_and_counted(client, code, monkeypatch):
    monkeypatch.setattr(clicks, "_waiting", type(clicks._waiting)(2))
    before = clicks.metrics.CLICKS.labels("dropped")._value.get()
    for number in range(5):
        assert click(client, address=f"192.0.2.{number}").status_code == 200
    assert clicks.metrics.CLICKS.labels("dropped")._value.get() - before == 3
    assert counted() == 2


@pytest.mark.parametrize(("error", "left"), [(OperationalError, 2), (DataError, 1)])
def test_what_cannot_be_written_now_waits_and_what_never_can_is_dropped(client, code, monkeypatch, error, left):
    with monkeypatch.context() as broken:
        broken.setattr(services, "count_clicks", lambda batch: (_ for _ in ()).throw(error))
        click(client, address="192.0.2.1")
        clicks.flush()
    click(client, address="192.0.2.2")
    assert counted() == left


# --- How long ---


def test_old_clicks_go_and_their_sums_stay(client, code, at, settings):
    """P4"""
    settings.CLICK_RETENTION_DAYS = 30
    for days in (0, 1, 31):
        at(days=days)
        click(client)
        clicks.flush()
    assert delete_what_is_over()["clicks"] == 1
    assert (Click.objects.count(), sum(ClickDay.objects.values_list("clicks", flat=True))) == (2, 3)
    settings.CLICK_RETENTION_DAYS = 0
    at(days=300)
    assert delete_what_is_over()["clicks"] == 0


def test_no_column_of_a_click_could_hold_a_person():
    """P3"""
    columns = {field.column for field in apps.get_model("referrals.Click")._meta.fields}
    assert columns == {"id", "code_id", "clicked_at", "channel", "site", "device", "visitor"}


def test_what_was_clicked_stays_when_the_account_is_closed(client, api, as_user, code):
    """P2"""
    click(client)
    assert counted() == 1
    closed = as_user(code.owner).delete("/auth/users/me/", {"current_password": "correct horse battery"})
    assert closed.status_code == 204
    assert counted() == 1


# --- The cookie ---


def test_a_browser_remembers_the_last_good_link_it_opened(client, code):
    """R12"""
    other = make_code()
    assert client.get("/r/current").status_code == 404
    for path, remembered in [
        (f"/r/{other.code}", other.code),
        ("/r/ada2o30", "ADA-2030"),
        ("/r/UNKNOWN", "ADA-2030"),
        (f"/r/{'x' * 65}", "ADA-2030"),
    ]:
        click(client, path)
        found = client.get("/r/current")
        assert (found.status_code, found.json()) == (200, {"code": remembered})
        assert found["Cache-Control"] == "no-store"


def test_a_link_that_nobody_looked_at_changes_nothing(client, code):
    """R12: cookie stuffing"""
    other = make_code()
    click(client)
    click(client, f"/r/{other.code}", **{"Sec-Fetch-Dest": "image"})
    client.head(f"/r/{other.code}", headers={"User-Agent": DESKTOP})
    client.force_login(other.owner)
    click(client, f"/r/{other.code}")
    assert client.get("/r/current").json() == {"code": "ADA-2030"}


def test_the_cookie_is_for_this_host_and_no_script(client, settings, code):
    """H4"""
    settings.PRODUCTION, settings.REFERRAL_COOKIE_NAME, settings.ATTRIBUTION_WINDOW_DAYS = True, "__Host-referral", 7
    response = client.get("/r/ADA-2030", headers={"User-Agent": DESKTOP}, secure=True)
    cookie = response.cookies["__Host-referral"]
    attributes = {name: cookie[name] for name in ("secure", "httponly", "samesite", "path", "domain", "max-age")}
    expected = {"secure": True, "httponly": True, "samesite": "Lax", "path": "/", "domain": "", "max-age": 7 * 86400}
    assert attributes == expected


def test_a_code_that_cannot_be_used_any_more_is_not_told(client, code):
    click(client)
    services.retire_code(code.owner)
    answer = client.get("/r/current")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "no_active_code"


@pytest.mark.parametrize("value", ["ADA-2030", "ADA-2030:1uXyZz:c2ln", "", ":", "\xe9", "x" * 4000])
def test_nobody_makes_a_cookie_up(client, settings, code, value):
    """R12"""
    client.cookies[settings.REFERRAL_COOKIE_NAME] = value
    assert client.get("/r/current").status_code == 404


def test_the_window_ends_whatever_the_browser_thinks(client, settings, code, monkeypatch):
    """R12"""
    settings.ATTRIBUTION_WINDOW_DAYS = 7
    click(client)
    assert client.get("/r/current").status_code == 200
    settings.ATTRIBUTION_WINDOW_DAYS = 0
    assert client.get("/r/current").status_code == 404
    settings.ATTRIBUTION_WINDOW_DAYS = 7
    moment = datetime.now(UTC).timestamp() + 7 * 86400 + 60
    monkeypatch.setattr("django.core.signing.time.time", lambda: moment)
    assert client.get("/r/current").status_code == 404


def test_where_nothing_is_to_be_remembered_no_cookie_is_set(client, settings, code):
    settings.ATTRIBUTION_WINDOW_DAYS = 0
    assert not click(client).cookies
    assert counted() == 1


def test_no_page_of_another_site_reads_what_is_remembered(client, settings, code):
    """H3"""
    click(client)
    answer = client.get("/r/current", headers={"Origin": "https://app.example.com"})
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
