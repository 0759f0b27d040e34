"""The admin of codes and referrals: all of it to be found, none of it to be changed."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from referrals import services
from referrals.models import Click, Referral, ReferralCode
from referrals.tests.factories import make_code, make_expired_code, make_referral
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db

CODES, REFERRALS = "/admin/referrals/referralcode/", "/admin/referrals/referral/"
CLICKS = "/admin/referrals/click/"


@pytest.fixture
def boss(client) -> Client:
    """A browser in which a superuser is signed in."""
    client.force_login(make_user(username="boss", is_staff=True, is_superuser=True))
    return client


def make_click() -> Click:
    code = make_code()
    return Click.objects.create(code=code, clicked_at=timezone.now(), device="phone", visitor="x")


def found(browser: Client, path: str, query: dict[str, str]) -> set:
    response = browser.get(path, query)
    assert response.status_code == 200
    return set(response.context["cl"].queryset)


def test_every_page_opens_for_a_superuser(boss):
    referral = make_referral()
    for path in (CODES, f"{CODES}{referral.code.pk}/change/", REFERRALS, f"{REFERRALS}{referral.pk}/change/"):
        assert boss.get(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "make", "query"),
    [
        (CODES, make_code, {}),
        (CODES, make_code, {"q": "user", "state": "active"}),
        (REFERRALS, make_referral, {}),
        (REFERRALS, make_referral, {"q": "referred"}),
        (CLICKS, make_click, {}),
        (CLICKS, make_click, {"q": "user"}),
    ],
)
def test_a_list_takes_as_many_queries_for_one_row_as_for_fifty_and_fewer_than_ten(boss, path, make, query):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert boss.get(path, query).status_code == 200
        return len(seen)

    make()
    queries()  # what is cached for good is cached now
    few = queries()
    for _row in range(50):
        make()
    assert queries() == few < 10


def test_codes_are_found_by_owner_text_and_state(boss):
    active = make_code(make_user(username="Ada", email="ada@example.org"), wish="ADA-2030")
    expired = make_expired_code(code="LAST-YEAR")
    retired = make_code(wish="RETIRED")
    services.retire_code(retired.owner)
    for query, expected in [
        ({}, {active, expired, retired}),
        ({"q": "ada 2o3o"}, {active}),
        ({"q": "ada-2"}, set()),
        ({"owner": str(active.owner_id)}, {active}),
        ({"q": "aDA"}, {active}),
        ({"q": "ADA@Example.org"}, {active}),
        ({"q": "nobody"}, set()),
        ({"state": "active"}, {active}),
        ({"state": "expired"}, {expired}),
        ({"state": "retired"}, {retired}),
        ({"state": "nonsense"}, {active, expired, retired}),
    ]:
        assert found(boss, CODES, query) == expected, query


def test_referrals_are_found_by_both_people_and_by_code(boss):
    code = make_code(make_user(username="Ada", email="ada@example.org"), wish="ADA-2030")
    first = make_referral(code, username="Grace", email="grace@example.net")
    second = make_referral(make_code(wish="OTHER"))
    for query, expected in [
        ({}, {first, second}),
        ({"q": "ada"}, {first}),
        ({"q": "ada-2030"}, {first}),
        ({"q": "grace@example"}, {first}),
        ({"q": "example.org"}, set()),
        ({"referrer": str(code.owner_id)}, {first}),
        ({"q": "grace"}, {first}),
        ({"created_at__gte": str(timezone.now() + timedelta(days=1))}, set()),
    ]:
        assert found(boss, REFERRALS, query) == expected, query


@pytest.mark.parametrize("model", [ReferralCode, Referral])
def test_what_services_write_is_looked_at_and_never_touched(boss, model):
    """R4"""
    referral = make_referral()
    row = referral.code if model is ReferralCode else referral
    path = CODES if model is ReferralCode else REFERRALS
    before = model.objects.values().get()
    form = {"code": "EVIL", "owner": boss.session["_auth_user_id"], "referrer": referral.referred_id, "post": "yes"}
    for name in ("add", f"{row.pk}/change", f"{row.pk}/delete"):
        assert boss.post(f"{path}{name}/", form).status_code == 403
    boss.post(path, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert model.objects.values().get() == before


def test_the_password_of_an_owner_is_not_spelled_out_by_a_filter(boss):
    """Z7"""
    make_referral()
    assert boss.get(CODES, {"owner__password__startswith": "a"}).status_code == 400
    assert boss.get(REFERRALS, {"referrer__password__startswith": "a"}).status_code == 400


@pytest.mark.parametrize(
    ("right", "codes", "referrals"), [("view_referralcode", 200, 403), ("view_referral", 403, 200)]
)
def test_staff_see_what_they_have_a_right_to(right, codes, referrals):
    """Z5"""
    staff, browser = make_user(is_staff=True), Client()
    staff.user_permissions.add(Permission.objects.get(codename=right))
    browser.force_login(staff)
    assert [browser.get(CODES).status_code, browser.get(REFERRALS).status_code] == [codes, referrals]
