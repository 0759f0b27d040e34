"""What staff see at a glance and what they do with many rows at once: cards, groups, actions, exports."""

import csv
import io
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from social_django.models import UserSocialAuth

from referrals import figures, services
from referrals.models import Click, ReferralCode
from referrals.tests.factories import make_code, make_expired_code, make_referral
from users import audit
from users.listing import AT_ONCE, BROKEN_OFF, Pages, cell
from users.models import AuditEvent, User
from users.tests.factories import make_user, make_waiting_mail

pytestmark = pytest.mark.django_db

USERS, CODES, REFERRALS = "/admin/users/user/", "/admin/referrals/referralcode/", "/admin/referrals/referral/"
CLICKS, MAILS = "/admin/referrals/click/", "/admin/users/outgoingemail/"
EVENTS, IDENTITIES = "/admin/users/auditevent/", "/admin/social_django/usersocialauth/"
migration = import_module("referrals.migrations.0003_groups_of_staff")
VIEWS = {
    "view_referral": {"Top referrers"},
    "view_referralcode": {"Codes that end within a week"},
    "view_outgoingemail": {"E-mails given up"},
    "view_auditevent": {"What happened last"},
}


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def staff_with(*rights: str) -> Client:
    user = make_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return browser_of(user)


def one_of(group: str) -> tuple[Client, User]:
    """Somebody of a group, which is made anew: a test may have emptied the database since the migration."""
    migration.make_groups(apps, None)
    user = make_user(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return browser_of(user), user


def act(browser: Client, path: str, action: str, *rows, **more: str):
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return browser.post(path, chosen | more, follow=True)


def cards_of(browser: Client, path: str) -> dict[str, list[str]]:
    response = browser.get(path)
    assert response.status_code == 200
    return {card.title: [row.text for row in card.rows] for card in response.context["cards"]}


# --- Cards ---


@pytest.fixture
def world():
    """A referrer whose code ends soon, and who brought somebody; a mail that was given up; something that happened."""
    ada = make_user(username="ada")
    referral = make_referral(make_code(ada), username="grace")
    make_waiting_mail("failed@example.com", failed_at=timezone.now())
    audit.record(AuditEvent.Kind.BLOCKED, ada, by=make_user(username="boss"))
    return referral


def test_the_overview_shows_to_each_what_they_may_see(world):
    """Z5"""
    for right, titles in VIEWS.items():
        browser = staff_with(right)
        assert cards_of(browser, "/admin/").keys() == titles
        assert browser.get("/admin/").context["charts"] == []
    assert cards_of(staff_with(), "/admin/") == {}
    assert len(staff_with("view_click", "view_referral").get("/admin/").context["charts"]) == 3
    shown = cards_of(one_of("Support")[0], "/admin/")
    assert shown == {
        "Top referrers": ["ada"],
        "Codes that end within a week": [world.code.code],
        "E-mails given up": ["Hello"],
        "What happened last": ["Blocked"],
    }


def test_a_card_leads_only_where_somebody_may_go(world):
    """Z5"""
    assert f"{USERS}{world.referrer_id}/change/" not in staff_with("view_referral").get("/admin/").text
    assert f"{USERS}{world.referrer_id}/change/" in staff_with("view_referral", "view_user").get("/admin/").text


def test_the_charts_show_these_days_beside_those_before(world):
    now = timezone.now()
    services.count_clicks(Click(code=world.code, clicked_at=now, device="phone", visitor=f"{n}") for n in range(4))
    before = now - timedelta(days=35)
    services.count_clicks([Click(code=world.code, clicked_at=before, device="phone", visitor="x")])
    rate, clicks, registrations = one_of("Support")[0].get("/admin/").context["charts"]
    assert (clicks.sums, registrations.sums, rate.sums) == (["4", "1"], ["1", "0"], ["25.0%", "0.0%"])


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_summed_up_in_time_leaves_the_rest_of_the_page(world, monkeypatch):
    def take_long(*args):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")

    browser, _support = one_of("Support")
    monkeypatch.setattr(figures, "funnel", take_long)
    monkeypatch.setattr(figures, "top_referrers", take_long)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 100")
    try:
        page = browser.get("/admin/")
    finally:
        connection.close()
    assert page.context["charts"] == []
    assert [len(card.rows) for card in page.context["cards"]] == [0, 1, 1, 1]


def test_the_page_of_an_account_shows_what_it_has_to_do_with_referrals(world):
    browser, _support = one_of("Support")
    ada, grace = f"{USERS}{world.referrer_id}/change/", f"{USERS}{world.referred_id}/change/"
    assert cards_of(browser, ada) == {
        "Code": [world.code.code],
        "Referred by": [],
        "Referrals": ["grace"],
        "What happened": ["Blocked"],
    }
    assert cards_of(browser, grace) == {"Code": [], "Referred by": ["ada"], "Referrals": [], "What happened": []}
    assert cards_of(staff_with("view_user"), ada) == {}
    for card in browser.get(ada).context["cards"]:
        assert not card.more or browser.get(card.more).status_code == 200
    assert browser.get(f"{REFERRALS}?referrer={world.referrer_id}").context["cl"].result_count == 1
    assert browser.get(f"{REFERRALS}?referrer={world.referred_id}").context["cl"].result_count == 0


@pytest.mark.parametrize("page", ["/admin/", "account"])
def test_a_page_with_cards_takes_as_many_queries_for_one_row_as_for_fifty(world, page):
    browser, _support = one_of("Support")

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            cards_of(browser, page if page == "/admin/" else f"{USERS}{world.referrer_id}/change/")
        return len(seen)

    queries()
    few = queries()
    for number in range(50):
        make_referral(world.code)
        make_waiting_mail(f"failed{number}@example.com", failed_at=timezone.now())
        audit.record(AuditEvent.Kind.BLOCKED, world.referrer, by=make_user())
    assert queries() == few


# --- Groups ---


def test_the_groups_are_made_on_an_empty_database_and_once():
    """Rights do not exist yet when migrations run on one."""
    Group.objects.all().delete()
    Permission.objects.all().delete()
    for _time in range(2):
        migration.make_groups(apps, None)
    rights = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    reading = {f"view_{model}" for _app, model in migration.READ}
    assert rights == {"Support": reading, "Manager": reading | {f"change_{model}" for _app, model in migration.ACT}}
    assert len(reading) == 7
    names = dict(Permission.objects.values_list("codename", "name"))
    assert (names["view_user"], names["change_referralcode"]) == ("Can view user", "Can change referral code")


def test_support_reads_every_list_and_does_nothing():
    """Z5"""
    browser, _support = one_of("Support")
    code = make_code()
    for app, model in migration.READ:
        with CaptureQueriesContext(connection) as seen:
            page = browser.get(f"/admin/{app}/{model}/?q={code.owner}")
        assert page.status_code == 200
        assert len(seen) < 10
        assert page.context["action_form"] is None
    act(browser, CODES, "retire", code)
    act(browser, USERS, "block", code.owner)
    assert act(browser, USERS, "export", code.owner)["Content-Type"].startswith("text/html")
    code.refresh_from_db()
    assert (code.retired_at, code.owner.is_active, AuditEvent.objects.count()) == (None, True, 0)


def test_support_reads_no_secret_and_changes_none():
    """Z5, Z7: neither what a password is kept as, nor a link that lets somebody in, nor what a provider told."""
    browser, support = one_of("Support")
    user = make_user()
    mail = make_waiting_mail(message={"body": "https://x.io/account/reset-password/NA/secret"})
    identity = UserSocialAuth.objects.create(user=user, provider="github", uid="7", extra_data={"access": "secret"})
    passwords = {"usable_password": "true", "password1": "staple under the moon", "password2": "staple under the moon"}
    account = f"{USERS}{user.pk}"
    for path in (f"{account}/change/", f"{MAILS}{mail.pk}/change/", f"{IDENTITIES}{identity.pk}/change/"):
        shown = browser.get(path)
        assert shown.status_code == 200
        assert not [secret for secret in ("secret", *user.password.split("$")[-2:]) if secret in shown.text]
        assert browser.post(path, {"username": "changed", "is_superuser": "on"}).status_code == 403
    for path in (f"{account}/password/", f"{account}/delete/", f"{USERS}add/", f"{USERS}{support.pk}/password/"):
        assert (browser.get(path).status_code, browser.post(path, passwords).status_code) == (403, 403)
    for lookup in ("password__startswith", "owner__password__startswith", "user__password__startswith"):
        assert {browser.get(f"/admin/{app}/{name}/", {lookup: "a"}).status_code for app, name in migration.READ} == {
            400
        }
    assert browser.get(USERS, {"_to_field": "password"}).status_code == 400


def test_what_strangers_wrote_runs_nowhere():
    """B15"""
    evil = "<img src=x onerror=alert(1)>'\"{{7*7}}"
    browser = browser_of(make_user(is_staff=True, is_superuser=True))
    code, now = make_code(), timezone.now()
    click = Click.objects.create(code=code, clicked_at=now, channel=evil, site=evil, device="phone", visitor="x")
    mail = make_waiting_mail("failed@example.com", failed_at=now, last_error=evil, subject=evil)
    identity = UserSocialAuth.objects.create(user=code.owner, provider="github", uid=evil)
    audit.record(AuditEvent.Kind.BLOCKED, code.owner, by=code.owner, note=evil)
    rows = [(CLICKS, click), (MAILS, mail), (IDENTITIES, identity), (EVENTS, AuditEvent.objects.get())]
    pages = [page for path, row in rows for page in (path, f"{path}{row.pk}/change/")]
    shown = [browser.get(page) for page in ("/admin/", f"{USERS}{code.owner_id}/change/", *pages)]
    shown += [browser.get(path, {"q": evil}) for path in (USERS, CODES, EVENTS)]
    assert {page.status_code for page in shown} == {200}
    assert not [page.request["PATH_INFO"] for page in shown if "<img src=x" in page.text]
    assert sum("&lt;img src=x" in page.text for page in shown) >= 8


# --- Actions ---


def test_a_manager_retires_codes_and_that_is_written_down(api):
    """U20"""
    browser, manager = one_of("Manager")
    active, other, expired, retired = make_code(), make_code(), make_expired_code(), make_code()
    services.retire_code(retired.owner)
    page = act(browser, CODES, "retire", active, expired, retired)
    assert "Codes that are retired now: 2." in page.text
    assert set(ReferralCode.objects.filter(retired_at=None)) == {other}
    expired.refresh_from_db()
    assert expired.retired_at == expired.expires_at
    assert api.get(f"/api/referral-code/{active.code}/").status_code == 404
    rows = AuditEvent.objects.order_by("id").values_list("kind", "user", "actor", "detail")
    assert list(rows) == [
        ("code_retired", code.owner_id, manager.pk, {"code": code.code}) for code in (active, expired)
    ]


def test_a_manager_blocks_and_unblocks_people_and_that_is_written_down(as_user):
    """U20, Z6"""
    browser, manager = one_of("Manager")
    user, closed = make_user(), make_user()
    client, code = as_user(user), make_code(user)
    User.objects.filter(pk=closed.pk).update(closed_at=timezone.now(), is_active=False)
    assert "Blocked: 1." in act(browser, USERS, "block", user, closed).text
    assert client.get("/auth/users/me/").status_code == 401
    assert not ReferralCode.objects.usable().filter(pk=code.pk).exists()
    assert "Blocked: 0." in act(browser, USERS, "block", user).text
    assert "Unblocked: 1." in act(browser, USERS, "unblock", user, closed).text
    rows = AuditEvent.objects.order_by("id").values_list("kind", "user", "actor")
    assert list(rows) == [("blocked", user.pk, manager.pk), ("unblocked", user.pk, manager.pk)]


def test_nobody_blocks_themselves_or_staff_above_them():
    """Z8"""
    browser, manager = one_of("Manager")
    boss = make_user(is_staff=True, is_superuser=True)
    assert "Blocked: 0." in act(browser, USERS, "block", manager, boss, make_user(is_staff=True)).text
    assert "Blocked: 0." in act(browser_of(boss), USERS, "block", boss).text
    assert "Blocked: 1." in act(browser_of(boss), USERS, "block", manager).text


def test_an_action_takes_no_more_rows_than_one_transaction_should():
    browser, _manager = one_of("Manager")
    User.objects.bulk_create(User(email=f"many{n}@example.com", username=f"many{n}") for n in range(AT_ONCE))
    page = act(browser, USERS, "block", make_user(), select_across="1")
    assert f"choose {AT_ONCE} at most" in page.text
    assert not User.objects.filter(is_active=False).exists()


# --- Exports ---


def test_a_manager_exports_chosen_rows_and_that_is_written_down():
    """P7, U20"""
    browser, manager = one_of("Manager")
    formula = make_user(username="eve", email="=cmd|x@example.com")
    plain, _other = make_user(username="bob", email="a.b@example.com"), make_user()
    response = act(browser, USERS, "export", formula, plain)
    assert response.streaming
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="user.csv"'
    text = response.getvalue().decode()
    assert text.count("\r\n") == 3
    names, *rows = csv.reader(io.StringIO(text))
    assert names[:3] == ["pk", "username", "email"]
    assert [row[:3] for row in rows] == [
        [str(plain.pk), "bob", "a.b@example.com"],
        [str(formula.pk), "eve", "'=cmd|x@example.com"],
    ]
    assert list(AuditEvent.objects.values_list("kind", "user", "actor", "detail")) == [
        ("data_exported", None, manager.pk, {"rows": "2 users.User"})
    ]


def test_an_export_of_all_has_every_row_once(monkeypatch):
    """P7"""
    monkeypatch.setattr("users.listing.AT_ONCE", 3)
    browser, _manager = one_of("Manager")
    code = make_code()
    pks = [make_referral(code).pk for _row in range(10)]
    response = act(browser, f"{REFERRALS}?referrer={code.owner_id}", "export", code, select_across="1")
    _names, *rows = csv.reader(io.StringIO(response.getvalue().decode()))
    assert [int(row[0]) for row in rows] == pks[::-1]


def test_an_export_that_breaks_off_says_so_in_its_last_line(monkeypatch):
    """The status is sent by then, and a body that ends half-way looks whole to a browser."""

    def newest_first(rows):
        yield from rows[:1]
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr("users.listing.newest_first", newest_first)
    browser, _manager = one_of("Manager")
    response = act(browser, USERS, "export", make_user(), make_user())
    names, row, last = csv.reader(io.StringIO(response.getvalue().decode()))
    assert len(row) == len(names)
    assert last == [BROKEN_OFF]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_starts_a_formula(start):
    """P7"""
    assert cell(f"{start}1") == f"'{start}1"
    assert (cell("a=1"), cell(None), cell(7), cell(False)) == ("a=1", "", "7", "False")


def test_a_list_counts_no_further_than_it_shows(monkeypatch):
    monkeypatch.setattr(Pages, "MOST", 150)
    User.objects.bulk_create(User(email=f"many{n}@example.com", username=f"many{n}") for n in range(200))
    browser, _support = one_of("Support")
    with CaptureQueriesContext(connection) as seen:
        page = browser.get(USERS)
    assert page.context["cl"].result_count == 150
    assert all("LIMIT 150" in query["sql"] for query in seen if "COUNT(*)" in query["sql"])
