"""One's own account: to see it, to change it, to close it."""

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.core import serializers
from django.db import transaction
from django.utils import timezone

from users import services
from users.models import AuditEvent, OutgoingEmail, TokenFamily, User
from users.signals import account_closed
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

ME = "/auth/users/me/"
SET_PASSWORD = "/auth/users/set_password/"


def errors(response) -> list[tuple[str, str]]:
    assert response.status_code == 400, response.content
    return [(error["field"], error["code"]) for error in response.json()["errors"]]


def log_in(api, **login: str) -> int:
    return api.post("/auth/jwt/create/", {"password": PASSWORD} | login).status_code


def everything_stored() -> str:
    """Every row of every table."""
    models = apps.get_models(include_auto_created=True)
    return "\n".join(serializers.serialize("json", model._base_manager.all()) for model in models)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"username": "Grace"}, {"username": "Grace"}),
        ({"username": "ADA"}, {"username": "ADA"}),
        ({"discoverable_by_email": False}, {"discoverable_by_email": False}),
        ({"username": "g2", "discoverable_by_email": False}, {"username": "g2", "discoverable_by_email": False}),
        ({"email": "ada@example.com"}, {}),
        ({"id": 7, "is_staff": True, "email_verified": True, "referrer": {"username": "x"}}, {}),
        ({}, {}),
    ],
)
def test_a_change_sets_what_is_sent_and_leaves_the_rest(as_user, change, told):
    """B14"""
    user = make_user(email="ada@example.com", username="Ada")
    client = as_user(user)
    before = client.get(ME).json()
    response = client.patch(ME, change)
    assert (response.status_code, response.json()) == (200, before | told)
    assert client.get(ME).json() == before | told
    user.refresh_from_db()
    assert (user.is_staff, user.is_superuser, user.token_version) == (False, False, 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"username": "gRACE"}, [("username", "username_taken")]),
        ({"username": "-"}, [("username", "invalid")]),
        ({"username": None}, [("username", "null")]),
        ({"discoverable_by_email": "maybe"}, [("discoverable_by_email", "invalid")]),
        ({"discoverable_by_email": None}, [("discoverable_by_email", "null")]),
        ({"email": "eve@x.io"}, [("email", "email_is_elsewhere")]),
        ({"email": "eve@x.io", "username": "free"}, [("email", "email_is_elsewhere")]),
    ],
)
def test_a_refused_change_changes_nothing(as_user, change, expected):
    """U15, L12, C12"""
    make_user(username="Grace")
    client = as_user(make_user())
    before = client.get(ME).json()
    assert errors(client.patch(ME, change)) == expected
    assert client.get(ME).json() == before


def test_two_changes_of_different_fields_are_both_kept():
    """C12: each writes its own column, whatever it saw of the others."""
    here = make_user()
    there, elsewhere = User.objects.get(), User.objects.get()
    services.set_password(elsewhere, "staple under the moon")
    services.change_account(here, username="grace")
    services.change_account(there, discoverable_by_email=False)
    kept = User.objects.get()
    assert (kept.username, kept.discoverable_by_email, kept.token_version) == ("grace", False, 1)
    assert kept.check_password("staple under the moon")


def test_a_new_password_is_the_only_one_and_ends_every_login(api, as_user, mailbox):
    """U9, U18"""
    user = make_user(username="ada")
    client, elsewhere = as_user(user), as_user(user)
    body = {"current_password": PASSWORD, "new_password": " staple under the moon "}
    assert client.post(SET_PASSWORD, body).status_code == 204
    assert [client.get(ME).status_code, elsewhere.get(ME).status_code] == [401, 401]
    assert not TokenFamily.objects.exists()
    tries = [PASSWORD, "staple under the moon", " staple under the moon "]
    assert [log_in(api, username="ada", password=attempt) for attempt in tries] == [401, 401, 200]
    assert [message.recipients() for message in mailbox()] == [[user.email]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"current_password": "wrong"}, [("current_password", "invalid_password")]),
        ({"current_password": f" {PASSWORD}"}, [("current_password", "invalid_password")]),
        ({"current_password": PASSWORD.upper()}, [("current_password", "invalid_password")]),
        ({"new_password": "ada.example.com"}, [("new_password", "password_too_similar")]),
        ({"new_password": "Horses of Lovelace"}, [("new_password", "password_contains_name")]),
        ({"new_password": "password1"}, [("new_password", "password_too_common")]),
        ({"new_password": "1f9.Kq7"}, [("new_password", "password_too_short")]),
        ({"new_password": "x" * 129}, [("new_password", "max_length")]),
    ],
)
def test_a_new_password_takes_the_old_one_and_keeps_the_rules(as_user, body, expected):
    """U1, U2, U4"""
    user = make_user(email="ada@example.com", username="lovelace")
    good = {"current_password": PASSWORD, "new_password": "staple under the moon"}
    client = as_user(user)
    assert errors(client.post(SET_PASSWORD, good | body)) == expected
    assert client.get(ME).status_code == 200
    user.refresh_from_db()
    assert user.check_password(PASSWORD)
    assert not OutgoingEmail.objects.exists()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("current_password", "required")]),
        ({"current_password": "wrong"}, [("current_password", "invalid_password")]),
        ({"current_password": f"{PASSWORD} "}, [("current_password", "invalid_password")]),
        ({"current_password": ""}, [("current_password", "blank")]),
    ],
)
def test_without_its_password_an_account_stays_open(as_user, body, expected):
    """U16"""
    client = as_user(make_user())
    before = everything_stored()
    assert errors(client.delete(ME, body)) == expected
    AuditEvent.objects.all().delete()  # that somebody tried
    assert everything_stored() == before


def test_a_closed_account_has_no_way_in(api, as_user):
    """U16, U8, P2"""
    user = make_user(email="ada@example.com", username="ada")
    pair = api.post("/auth/jwt/create/", {"username": "ada", "password": PASSWORD}).json()
    client = as_user(user)
    assert client.delete(ME, {"current_password": PASSWORD}).status_code == 204
    user.refresh_from_db()
    assert client.get(ME).status_code == 401
    assert api.post("/auth/jwt/refresh/", {"refresh": pair["refresh"]}).status_code == 401
    logins = [{"email": "ada@example.com"}, {"username": "ada"}, {"username": user.username}]
    assert [log_in(api, **login) for login in logins] == [401, 401, 401]


def test_of_a_closed_account_nothing_tells_whose_it_was(as_user, mailbox):
    """P2, P3: only the row itself stays, and what others have through it."""
    user = make_user(email="lovelace@example.com", username="Countess", is_staff=True, is_superuser=True)
    User.objects.update(email_verified_at=timezone.now())
    LogEntry.objects.log_actions(make_user().pk, [user], CHANGE, "Looked after.")
    client = as_user(user)
    client.post("/auth/users/reset_password/", {"email": user.email})
    mailbox()  # one mail is delivered, another waits
    client.post("/auth/users/resend_activation/", {"email": user.email})
    assert "lovelace" in everything_stored().lower()
    client.delete(ME, {"current_password": PASSWORD})
    stored = everything_stored().lower()
    assert not [trace for trace in ("lovelace", "countess", user.password.lower()) if trace in stored]
    closed = User.objects.get(pk=user.pk)
    assert (closed.email, closed.closed_at is None) == (None, False)
    assert LogEntry.objects.get().object_repr == closed.username
    assert not any([closed.is_active, closed.is_staff, closed.is_superuser, closed.discoverable_by_email])
    assert not closed.has_usable_password()
    assert closed.registered_at == user.registered_at


def test_an_address_can_register_again_once_its_account_is_closed(api, as_user):
    """P2"""
    user = make_user(email="ada@example.com", username="ada")
    as_user(user).delete(ME, {"current_password": PASSWORD})
    body = {"email": "ada@example.com", "username": "ada", "password": PASSWORD}
    response = api.post("/auth/users/", body)
    assert response.status_code == 201
    assert response.json()["id"] != user.pk
    assert response.json()["email_verified"] is False


def test_what_an_upper_app_does_about_a_closing_is_part_of_it(as_user):
    """G5: an account is closed as a whole or not at all."""

    def fail(**kwargs):
        raise RuntimeError

    user = make_user()
    account_closed.connect(fail)
    try:
        with pytest.raises(RuntimeError), transaction.atomic():
            services.close_account(user)
    finally:
        account_closed.disconnect(fail)
    assert as_user(user).get(ME).status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_accounts_are_out_of_reach_and_so_is_whether_they_exist(as_user, method):
    """L13, N6, Z9"""
    client, other = as_user(make_user(is_staff=True)), make_user()
    there, absent = (getattr(client, method)(f"/auth/users/{pk}/", {"username": "x"}) for pk in (other.pk, 10**9))
    assert there.status_code == absent.status_code == 404
    assert there.json() | {"request_id": None} == absent.json() | {"request_id": None}
