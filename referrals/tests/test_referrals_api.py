"""`/api/referrals/{id}/`: the list and its sum."""

from datetime import timedelta
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from rest_framework.utils.urls import replace_query_param

from referrals import services
from referrals.models import Referral
from referrals.tests.factories import make_code, make_referral
from users.models import User
from users.services import close_account
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db


def make_staff(**fields) -> User:
    staff = make_user(is_staff=True, **fields)
    staff.user_permissions.add(Permission.objects.get(codename="view_referral"))
    return staff


def make_crowd(count: int):
    """A code with `count` referrals, made in bulk."""
    code = make_code()
    start = User.objects.count()
    users = User.objects.bulk_create(
        User(email=f"crowd{start + n}@example.com", username=f"crowd{start + n}", password="!") for n in range(count)
    )
    Referral.objects.bulk_create(Referral(referrer=code.owner, referred=user, code=code) for user in users)
    return code


def test_a_referral_is_shown_as_the_contract_has_it(as_user):
    """Z3"""
    referral = make_referral(email="linus@example.com", username="linus")
    page = as_user(referral.referrer).get(f"/api/referrals/{referral.referrer_id}/").json()
    [row] = page.pop("results")
    assert page == {"next": None, "previous": None}
    assert row.pop("registered_at").endswith("Z")
    assert row == {
        "id": referral.referred_id,
        "username": "linus",
        "email": "l***@example.com",
        "code": referral.code.code,
    }


def test_a_referral_of_a_closed_account_stays_without_an_address(as_user):
    referral = make_referral()
    close_account(referral.referred)
    [row] = as_user(referral.referrer).get(f"/api/referrals/{referral.referrer_id}/").json()["results"]
    assert row["email"] is None
    assert row["username"].startswith("closed-")


def test_pages_go_from_the_newest_to_the_oldest_and_back(as_user):
    code = make_crowd(7)
    client = as_user(code.owner)
    ids = list(Referral.objects.order_by("-id").values_list("referred_id", flat=True))
    url, seen = f"/api/referrals/{code.owner_id}/?limit=3", []
    while url:
        page = client.get(url).json()
        seen.append([row["id"] for row in page["results"]])
        last, url = page, page["next"]
    assert seen == [ids[:3], ids[3:6], ids[6:]]
    back = client.get(last["previous"]).json()
    assert [row["id"] for row in back["results"]] == ids[3:6]


def test_beside_an_empty_page_is_the_one_that_it_follows(as_user, settings):
    settings.REGISTRATION_REVEALS_ACCOUNTS = False
    code = make_crowd(4)
    User.objects.update(email_verified_at=timezone.now())
    client = as_user(code.owner)
    first = client.get(f"/api/referrals/{code.owner_id}/?limit=2").json()
    User.objects.filter(referral__isnull=False).exclude(pk__in=[row["id"] for row in first["results"]]).update(
        email_verified_at=None
    )
    empty = client.get(first["next"]).json()
    assert (empty["results"], empty["next"]) == ([], None)
    assert client.get(empty["previous"]).json()["results"] == first["results"]


def test_who_comes_in_between_two_pages_shifts_nothing(as_user):
    code = make_crowd(4)
    client = as_user(code.owner)
    first = client.get(f"/api/referrals/{code.owner_id}/?limit=2").json()
    make_referral(code)
    second = client.get(first["next"]).json()
    ids = [row["id"] for page in (first, second) for row in page["results"]]
    assert len(set(ids)) == 4


def test_a_page_has_20_rows_unless_asked_and_100_at_most(as_user):
    code = make_crowd(101)
    client = as_user(code.owner)
    assert len(client.get(f"/api/referrals/{code.owner_id}/").json()["results"]) == 20
    assert len(client.get(f"/api/referrals/{code.owner_id}/?limit=100").json()["results"]) == 100


@pytest.mark.parametrize("limit", ["0", "-1", "101", "1000000000", "1.0", "abc", "", "١", "9" * 5000])
def test_a_limit_that_is_none_is_refused_by_name(as_user, limit):
    """B12"""
    user = make_user()
    response = as_user(user).get(f"/api/referrals/{user.pk}/", {"limit": limit})
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == ["limit"]


def test_an_altered_cursor_is_refused_by_name(as_user):
    """B12"""
    code = make_crowd(3)
    client = as_user(code.owner)
    following = client.get(f"/api/referrals/{code.owner_id}/?limit=1").json()["next"]
    cursor = following.partition("cursor=")[2].partition("&")[0]
    for bad in ["", "x", "0", cursor[:-1], "A" + cursor[1:], "cD0yMDI2", "9" * 5000]:
        response = client.get(f"/api/referrals/{code.owner_id}/?cursor={bad}")
        assert response.status_code == 400
        assert [error["field"] for error in response.json()["errors"]] == ["cursor"]


def test_a_link_has_what_was_asked_for_with_another_cursor(as_user):
    """B12: whatever the query, it is in the order of its names, and written as a program would."""
    code = make_crowd(25)
    client, path = as_user(code.owner), f"/api/referrals/{code.owner_id}/"
    here = client.get(f"{path}?limit=1").json()["next"].partition("cursor=")[2].partition("&")[0]
    queries = ["", "limit=2", "limit=02", f"cursor={here}", f"cursor={here}&limit=2", f"limit=2&cursor={here}"]
    queries += [f"cursor={here.replace('%3A', ':')}&limit=2", f"cursor=x&cursor={here}", "&limit=2", "limit=2&", "&"]
    queries += [
        "limit=3&limit=2",
        "l%69mit=2",
        "limit=%32",
        "limit=2&a=b",
        "a=b",
        "limit=2&z",
        "ы=%2&limit=2",
        "limit=2;a",
    ]
    answered = 0
    for query in queries:
        response = client.get(f"{path}?{query}")
        links = [response.json().get(name) for name in ("next", "previous")]
        for link in filter(None, links):
            cursor = unquote(link.partition("cursor=")[2].partition("&")[0])
            assert link == replace_query_param(response.wsgi_request.build_absolute_uri(), "cursor", cursor), query
            answered += 1
    assert answered > len(queries)


@pytest.mark.parametrize("path", ["", "summary/"])
def test_any_other_id_is_forbidden_whether_it_exists_or_not(as_user, path):
    """Z2, N6"""
    client, other = as_user(make_user()), make_user()
    answers = set()
    for pk in [other.pk, other.pk + 1000, 0, 2**31, 2**63 - 1, 2**63, 10**18]:
        response = client.get(f"/api/referrals/{pk}/{path}")
        assert response.status_code == 403
        answers.add(str(response.json() | {"request_id": ""}))
    assert len(answers) == 1


@pytest.mark.parametrize("path", ["", "summary/"])
@pytest.mark.parametrize("pk", ["-1", "01", "1.0", "abc", "١", "1" * 20, "1%00"])
def test_what_is_no_id_is_not_found(as_user, path, pk):
    """B6"""
    assert as_user(make_user()).get(f"/api/referrals/{pk}/{path}").status_code == 404


@pytest.mark.parametrize("path", ["", "summary/"])
def test_staff_who_may_view_referrals_see_anybodys_and_only_who_exists(as_user, path):
    """Z2, Z5, Z6"""
    referral, staff = make_referral(), make_staff()
    client = as_user(staff)
    assert client.get(f"/api/referrals/{referral.referrer_id}/{path}").status_code == 200
    for absent in [10**9, 2**63 - 1, 10**18 * 9 + 10**17 * 9]:
        assert client.get(f"/api/referrals/{absent}/{path}").status_code == 404
    staff.user_permissions.clear()
    assert client.get(f"/api/referrals/{referral.referrer_id}/{path}").status_code == 403
    assert client.get(f"/api/referrals/{staff.pk}/{path}").status_code == 200


def test_a_right_without_being_staff_opens_nothing(as_user):
    """Z5"""
    user, other = make_staff(), make_user()
    user.is_staff = False
    user.save(update_fields=["is_staff"])
    assert as_user(user).get(f"/api/referrals/{other.pk}/").status_code == 403


def test_the_summary_counts_by_time_and_by_code(as_user):
    old = make_code(wish="OLD-CODE")
    for days in [40, 20, 3]:
        Referral.objects.filter(pk=make_referral(old).pk).update(created_at=timezone.now() - timedelta(days=days))
    services.retire_code(old.owner)
    new = make_code(old.owner, wish="NEW-CODE")
    last = make_referral(new)
    make_referral()
    body = as_user(old.owner).get(f"/api/referrals/{old.owner_id}/summary/").json()
    first_at, last_at = body.pop("first_at"), body.pop("last_at")
    assert body == {
        "total": 4,
        "last_7_days": 2,
        "last_30_days": 3,
        "clicks": 0,
        "conversion_rate": None,
        "lookups": 0,
        "series": [],
        "codes": [{"code": "NEW-CODE", "total": 1}, {"code": "OLD-CODE", "total": 3}],
    }
    assert first_at < last_at == last.created_at.isoformat().replace("+00:00", "Z")


def test_the_summary_of_nobody_is_empty(as_user):
    user = make_user()
    assert as_user(user).get(f"/api/referrals/{user.pk}/summary/").json() == {
        "total": 0,
        "last_7_days": 0,
        "last_30_days": 0,
        "first_at": None,
        "last_at": None,
        "clicks": 0,
        "conversion_rate": None,
        "lookups": 0,
        "codes": [],
        "series": [],
    }
