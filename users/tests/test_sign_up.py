"""Signing up: what an account is made of, what is refused, and what is kept."""

import re
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone, translation

from users import services
from users.errors import EmailTaken, UsernameTaken
from users.models import OutgoingEmail, User
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

HASHERS = ["users.hashers.Argon2idHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
ADA = {"email": "ada@example.com", "password": PASSWORD, "username": "Ada"}


def errors(response) -> list[tuple[str, str]]:
    assert response.status_code == 400, response.content
    return [(error["field"], error["code"]) for error in response.json()["errors"]]


def test_a_new_account_is_told_in_full(api, as_user):
    response = api.post("/auth/users/", ADA)
    user = User.objects.get()
    assert response.status_code == 201
    assert response.json() == {
        "id": user.pk,
        "email": "ada@example.com",
        "username": "Ada",
        "email_verified": False,
        "discoverable_by_email": True,
        "registered_at": user.registered_at.isoformat().replace("+00:00", "Z"),
        "referrer": None,
    }
    assert as_user(user).get("/auth/users/me/").json() == response.json()
    assert abs((timezone.now() - user.registered_at).total_seconds()) < 60


def test_a_username_is_made_up_for_who_gives_none(api):
    username = api.post("/auth/users/", {"email": "ada@example.com", "password": PASSWORD}).json()["username"]
    assert re.fullmatch("user-[2-9a-z]{10}", username)
    assert api.post("/auth/jwt/create/", {"username": username, "password": PASSWORD}).status_code == 200


def test_nobody_makes_themselves_more_than_a_user(api):
    """B14"""
    claims = {"id": 7, "is_staff": True, "is_superuser": True, "is_active": False, "email_verified": True}
    assert api.post("/auth/users/", ADA | claims | {"email_verified_at": "2030-01-01", "closed_at": "2030-01-01"})
    user = User.objects.get()
    assert (user.is_staff, user.is_superuser, user.is_active) == (False, False, True)
    assert (user.email_verified_at, user.closed_at, user.token_version) == (None, None, 0)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({"username": "aDA"}, [("username", "username_taken")]),
        ({"email": "ada@example.com"}, [("email", "email_taken")]),
        ({"email": "ada@example.com", "username": "ADA"}, [("email", "email_taken"), ("username", "username_taken")]),
    ],
)
def test_what_is_taken_is_said_of_each_field_at_once(api, taken, expected):
    """N7, C1"""
    make_user(**taken)
    assert errors(api.post("/auth/users/", ADA)) == expected
    assert User.objects.count() == 1


def test_each_bad_field_is_named_at_once(api):
    """B1"""
    body = {"email": "nonsense", "password": "x" * 129, "username": "-"}
    expected = [("email", "invalid_email"), ("password", "max_length"), ("username", "invalid")]
    assert errors(api.post("/auth/users/", body)) == expected


@pytest.mark.parametrize(
    ("password", "codes"),
    [
        ("1f9.Kq7", ["password_too_short"]),
        ("password1", ["password_too_common"]),
        ("PassWord1", ["password_too_common"]),
        ("ada@example.com", ["password_too_similar", "password_contains_name"]),
        ("ada.example.com", ["password_too_similar"]),
        ("lovelace", ["password_too_similar", "password_contains_name"]),
        ("Lovelace1", ["password_too_similar", "password_contains_name"]),
        ("a horse for LoveLace to ride", ["password_contains_name"]),
        ("mail it to ADA@example.com please", ["password_contains_name"]),
        ("the best Referral of them all", ["password_contains_name"]),
        ("x" * 129, ["max_length"]),
        ("", ["blank"]),
        ("pass\x00words are long", ["invalid_characters"]),
    ],
)
def test_a_weak_password_is_refused(api, password, codes):
    """U1, U2"""
    body = {"email": "ada@example.com", "password": password, "username": "lovelace"}
    assert errors(api.post("/auth/users/", body)) == [("password", code) for code in codes]
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "password",
    [
        "1f9.Kq7z",
        "correct horse battery staple",
        "  two spaces on either side  ",
        "20483756192837465019",
        "пароль из слов",
        "🐎🔋📎🌙 and 👩‍🚀",
        "x9" * 64,
        "        ,",
        "canada in the autumn of 64",
    ],
)
def test_a_good_password_is_taken_to_the_letter(api, password):
    """U1, U4"""
    assert api.post("/auth/users/", ADA | {"password": password}).status_code == 201
    attempts = [password, password.strip() + "!", password.swapcase() + " ", password + " ", " " + password]
    log_ins = [api.post("/auth/jwt/create/", {"username": "ada", "password": attempt}) for attempt in attempts]
    assert [log_in.status_code == 200 for log_in in log_ins] == [True, False, False, False, False]


@pytest.mark.parametrize("path", ["/auth/users/", "/api/register-with-referral/"])
def test_a_password_has_the_same_rules_wherever_one_signs_up(api, as_user, path):
    """U2"""
    tomorrow = timezone.now() + timedelta(days=1)
    code = as_user(make_user()).post("/api/referral-code/", {"expiration_date": tomorrow}).json()["code"]
    weak = [("Horses of Lovelace", "password_contains_name"), ("password1", "password_too_common")]
    for password, refused in weak:
        body = ADA | {"password": password, "username": "lovelace", "referral_code": code}
        assert errors(api.post(path, body)) == [("password", refused)]
    assert api.post(path, ADA | {"referral_code": code}).status_code == 201


def test_a_password_is_kept_as_argon2id(api, settings):
    """U3"""
    settings.PASSWORD_HASHERS = HASHERS
    api.post("/auth/users/", ADA)
    stored = User.objects.get().password
    parameters = dict(part.split("=") for part in stored.split("$")[3].split(","))
    assert stored.startswith("argon2$argon2id$v=19$")
    assert int(parameters["m"]) >= 19456
    assert int(parameters["t"]) >= 2
    assert api.post("/auth/jwt/create/", {"username": "ada", "password": PASSWORD}).status_code == 200


def test_an_older_hash_is_renewed_at_login_and_no_token_ends(api, as_user, settings):
    """U3"""
    settings.PASSWORD_HASHERS = HASHERS[1:]
    user = make_user(username="ada")
    elsewhere = as_user(user)
    settings.PASSWORD_HASHERS = HASHERS
    pair = api.post("/auth/jwt/create/", {"username": "ada", "password": PASSWORD}).json()
    user.refresh_from_db()
    assert user.password.startswith("argon2$argon2id$")
    assert elsewhere.get("/auth/users/me/").status_code == 200
    assert api.post("/auth/jwt/refresh/", {"refresh": pair["refresh"]}).status_code == 200
    assert user.check_password(PASSWORD)


@pytest.mark.parametrize(
    ("asked", "kept"), [("ru", "ru"), ("ru-RU, en;q=0.5", "ru"), ("en-GB", "en"), ("fr", "en"), ("", "en")]
)
def test_mails_will_be_in_the_language_of_who_signed_up(api, asked, kept):
    api.post("/auth/users/", ADA, HTTP_ACCEPT_LANGUAGE=asked)
    assert User.objects.get().language == kept


def test_the_mail_that_proves_the_address_goes_to_it_and_to_nobody_else(api, mailbox):
    """R16"""
    api.post("/auth/users/", ADA | {"email": "ADA@Example.com", "to": "eve@x.io", "cc": ["eve@x.io"]})
    assert [message.recipients() for message in mailbox()] == [["ada@example.com"]]


def test_an_account_and_its_mail_are_stored_together_or_not_at_all(api):
    """F9, L10"""
    prepared = services.prepare_account(email="ada@example.com", password=PASSWORD)
    with pytest.raises(RuntimeError), transaction.atomic():  # noqa: PT012
        services.open_account(prepared)
        assert OutgoingEmail.objects.filter(to="ada@example.com").exists()
        raise RuntimeError
    assert not User.objects.exists()
    assert not OutgoingEmail.objects.exists()
    assert api.post("/auth/users/", ADA).status_code == 201


@pytest.mark.parametrize(
    ("taken", "refusal"),
    [({"email": "ADA@example.com"}, EmailTaken), ({"username": "aDA"}, UsernameTaken)],
)
def test_who_loses_the_race_for_a_name_is_told_as_if_they_had_come_late(taken, refusal):
    """C1: the serializer has looked already, and the constraint decides."""
    prepared = services.prepare_account(**ADA)
    winner = make_user(**taken)
    with pytest.raises(refusal), transaction.atomic():
        services.open_account(prepared)
    assert User.objects.get() == winner
    assert not OutgoingEmail.objects.exists()


def test_who_loses_the_race_for_a_new_username_keeps_the_old_one():
    """C1, C12"""
    user = make_user(username="ada")
    make_user(username="Grace")
    with pytest.raises(UsernameTaken):
        services.change_account(user, username="grace")
    user.refresh_from_db()
    assert user.username == "ada"


def test_an_account_made_by_a_command_gets_mails_in_the_language_of_the_service():
    with translation.override(None):
        assert services.prepare_account(email="ada@example.com", password=PASSWORD).language == "en"
