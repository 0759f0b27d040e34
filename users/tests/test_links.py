"""The links in mails: what each is good for, how long, how often, and in whose hands."""

import re
import time
from datetime import timedelta
from unittest import mock
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone
from djoser.utils import encode_uid
from social_django.models import UserSocialAuth

from users import services
from users.deadlocks import again_after_deadlock
from users.errors import InvalidLink
from users.models import OutgoingEmail, TokenFamily, User
from users.tests.factories import PASSWORD, make_user
from users.tokens import ACTIVATION, EMAIL_CHANGE, EMAIL_UNDO, PASSWORD_RESET, LinkToken

pytestmark = pytest.mark.django_db

NEW_PASSWORD = "staple under the moon"
CONFIRM = {
    ACTIVATION: "/auth/users/activation/",
    PASSWORD_RESET: "/auth/users/reset_password_confirm/",
    EMAIL_CHANGE: "/auth/users/set_email_confirm/",
    EMAIL_UNDO: "/auth/users/keep_email/",
}
PAYLOADS = {EMAIL_CHANGE: "new@example.com", EMAIL_UNDO: "old@example.com"}
LIFETIMES = {PASSWORD_RESET: timedelta(hours=1), EMAIL_UNDO: timedelta(days=7)}
NAMES = ["activation", "password reset", "change of address", "undo"]
each_link = pytest.mark.parametrize("link", CONFIRM, ids=NAMES)


def make_token(link: LinkToken, user: User) -> str:
    return link.make(user, PAYLOADS.get(link, ""))


def use(api, link: LinkToken, uid, token):
    body = {"uid": uid, "token": token}
    return api.post(CONFIRM[link], body | ({"new_password": NEW_PASSWORD} if link is PASSWORD_RESET else {}))


def link_of(message) -> str:
    """The path of the link in a mail, which is the same in both of its parts."""
    found = set(
        re.findall(rf"{settings.PUBLIC_URL}(/account/[^\s\"<]+)", message.body + message.alternatives[0].content)
    )
    assert len(found) == 1
    return found.pop()


def follow(api, link: LinkToken, message):
    _page, uid, token = link_of(message).strip("/").split("/")[1:]
    return use(api, link, uid, token)


def answer(response) -> tuple:
    """All of an answer but the request's id."""
    body = response.json() | {"request_id": None} if response.content else None
    return response.status_code, body, dict(response.headers) | {"X-Request-ID": None}


def is_bad_link(response) -> bool:
    problem = response.json()
    codes = [(error["field"], error["code"]) for error in problem.get("errors", [])]
    return response.status_code == 400 and codes == [("uid", "invalid_token"), ("token", "invalid_token")]


@each_link
@pytest.mark.parametrize("made_for", CONFIRM, ids=NAMES)
def test_a_link_is_good_for_its_own_purpose_and_once(api, link, made_for):
    """U13, L8"""
    user = make_user()
    uid, token = encode_uid(user.pk), make_token(made_for, user)
    first = use(api, link, uid, token)
    assert is_bad_link(first) if link is not made_for else first.status_code == 204
    assert is_bad_link(use(api, link, uid, token))


@each_link
def test_every_bad_link_gets_one_and_the_same_answer(api, link):
    """B5, L1, U13"""
    user, other = make_user(), make_user()
    uid, token = encode_uid(user.pk), make_token(link, user)
    wrong = answer(use(api, link, uid, token[:-1] + ("A" if token[-1] != "A" else "B")))
    assert wrong[0] == 400
    uids = [123, True, 1.5, [], {}, "x" * 10_000, encode_uid("9" * 40), encode_uid("9" * 5000), "é", "=", "Ж", "AA"]
    for bad in [*uids, encode_uid(other.pk), encode_uid(10**9), encode_uid(-1), encode_uid("abc"), str(user.pk)]:
        assert answer(use(api, link, bad, token)) == wrong, bad
    for bad in [
        5,
        True,
        1.5,
        [],
        {},
        "x",
        "x" * 10_000,
        "é",
        ":::",
        token + "x",
        token.swapcase(),
        make_token(link, other),
    ]:
        assert answer(use(api, link, uid, bad)) == wrong, bad
    assert use(api, link, uid, token).status_code == 204


def test_a_link_names_the_account_it_is_for():
    """U13: whatever else two accounts may have in common."""
    assert ACTIVATION.read(User(pk=1), ACTIVATION.make(User(pk=1))) == ""
    assert ACTIVATION.read(User(pk=2), ACTIVATION.make(User(pk=1))) is None


@each_link
@pytest.mark.parametrize(("late", "good"), [(-60, True), (1, False)])
def test_a_link_ends_when_its_time_is_over(api, link, late, good):
    """U13: an hour for a new password, a week for an undo, a day for the others."""
    assert link.lifetime == LIFETIMES.get(link, timedelta(days=1))
    user = make_user()
    then = time.time() - link.lifetime.total_seconds() - late
    with mock.patch("time.time", return_value=then):
        token = make_token(link, user)
    response = use(api, link, encode_uid(user.pk), token)
    assert response.status_code == 204 if good else is_bad_link(response)


@pytest.mark.parametrize("link", [ACTIVATION, PASSWORD_RESET, EMAIL_CHANGE], ids=NAMES[:3])
@pytest.mark.parametrize(
    "change", [{"password": "another"}, {"token_version": 1}, {"email": "other@example.com"}, {"is_active": False}]
)
def test_a_link_ends_with_the_state_it_was_made_for(api, link, change):
    """U13, U14, U15"""
    user = make_user()
    token = make_token(link, user)
    User.objects.filter(pk=user.pk).update(**change)
    assert is_bad_link(use(api, link, encode_uid(user.pk), token))


@each_link
def test_a_blocked_account_takes_no_link_even_a_new_one(api, link):
    """U14, L9"""
    blocked = make_user(is_active=False)
    assert is_bad_link(use(api, link, encode_uid(blocked.pk), make_token(link, blocked)))
    blocked.refresh_from_db()
    assert (blocked.is_active, blocked.email_verified, blocked.check_password(PASSWORD)) == (False, False, True)


@pytest.mark.parametrize("call", ["resend_activation", "reset_password"])
def test_asking_for_a_link_tells_nothing_and_lets_nobody_in_again(api, mailbox, call):
    """U14, L9, L10, N1, N6"""
    user, blocked, closed = make_user(), make_user(is_active=False), make_user(email="closed@example.com")
    services.close_account(closed)
    addresses = [user.email, blocked.email, "closed@example.com", "nobody@example.com"]
    first, *others = [answer(api.post(f"/auth/users/{call}/", {"email": address})) for address in addresses]
    assert first[:2] == (204, None)
    assert all(other == first for other in others)
    assert [message.recipients() for message in mailbox()] == [[user.email]]


def test_a_proved_address_needs_no_second_link(api, mailbox):
    user = make_user()
    api.post("/auth/users/resend_activation/", {"email": user.email.upper()})
    assert follow(api, ACTIVATION, mailbox()[-1]).status_code == 204
    user.refresh_from_db()
    assert user.email_verified
    assert api.post("/auth/users/resend_activation/", {"email": user.email}).status_code == 204
    assert len(mailbox()) == 1


@pytest.mark.parametrize("email", [["victim@example.com", "evil@x.io"], {"0": "victim@example.com"}, None, 5, True])
def test_a_reset_for_what_is_no_single_address_sends_nothing(api, email):
    """B1, R16: CVE-2023-7028"""
    make_user(email="victim@example.com")
    assert api.post("/auth/users/reset_password/", {"email": email}).status_code == 400
    assert not OutgoingEmail.objects.exists()


def test_a_reset_goes_to_the_stored_address_with_a_link_to_this_service(api, mailbox):
    """R16, R21, H6"""
    make_user(email="victim@example.com")
    body = {"email": "VICTIM@example.com", "to": "evil@x.io", "cc": ["evil@x.io"], "host": "evil.x.io"}
    headers = {"X-Forwarded-Host": "localhost", "Forwarded": "host=evil.x.io", "X-Forwarded-Proto": "https"}
    assert api.post("/auth/users/reset_password/", body, headers=headers).status_code == 204
    (message,) = mailbox()
    assert message.recipients() == ["victim@example.com"]
    assert link_of(message).startswith("/account/reset-password/")
    assert "evil" not in message.message().as_string()


def test_a_reset_gives_a_new_password_and_signs_nobody_in(api, as_user, mailbox):
    """U9, U13, U18, U19"""
    user = make_user(username="ada")
    elsewhere, pair = as_user(user), api.post("/auth/jwt/create/", {"username": "ada", "password": PASSWORD}).json()
    api.post("/auth/users/reset_password/", {"email": user.email})
    api.post("/auth/users/reset_password/", {"email": user.email})
    one, two = mailbox()
    response = follow(api, PASSWORD_RESET, one)
    assert (response.status_code, response.content, dict(response.cookies)) == (204, b"", {})
    assert is_bad_link(follow(api, PASSWORD_RESET, two))
    assert elsewhere.get("/auth/users/me/").status_code == 401
    assert api.post("/auth/jwt/refresh/", {"refresh": pair["refresh"]}).status_code == 401
    assert not TokenFamily.objects.exists()
    assert [message.recipients() for message in mailbox()[2:]] == [[user.email]]  # the notice
    logins = [api.post("/auth/jwt/create/", {"username": "ada", "password": p}) for p in (PASSWORD, NEW_PASSWORD)]
    assert [login.status_code for login in logins] == [401, 200]
    user.refresh_from_db()
    assert user.email_verified  # who read the mail reads the mailbox


@pytest.mark.parametrize("password", ["password1", "1f9.Kq7", "ada.example.com", "Referral 2030", "x" * 129, ""])
def test_a_weak_password_leaves_the_link_good(api, password):
    """U1, U2"""
    user = make_user(email="ada@example.com")
    body = {"uid": encode_uid(user.pk), "token": PASSWORD_RESET.make(user)}
    response = api.post(CONFIRM[PASSWORD_RESET], body | {"new_password": password})
    assert [error["field"] for error in response.json()["errors"]] == ["new_password"]
    assert api.post(CONFIRM[PASSWORD_RESET], body | {"new_password": NEW_PASSWORD}).status_code == 204


def ask_to_move(client, new_email: str, password: str = PASSWORD):
    return client.post("/auth/users/set_email/", {"new_email": new_email, "current_password": password})


def test_an_address_changes_when_the_new_one_is_proved_and_the_old_one_is_told(api, as_user, mailbox):
    """U15, L12"""
    user = make_user(email_verified_at=timezone.now(), email="old@example.com", username="ada")
    client, pending_reset = as_user(user), PASSWORD_RESET.make(user)
    before = client.get("/auth/users/me/").json()
    assert ask_to_move(client, "NEW@Example.com").status_code == 204
    assert client.get("/auth/users/me/").json() == before
    to_new, to_old = sorted(mailbox(), key=lambda message: message.to)
    assert (to_new.recipients(), to_old.recipients()) == (["new@example.com"], ["old@example.com"])
    assert link_of(to_old).startswith("/account/keep-email/")
    assert follow(api, EMAIL_CHANGE, to_new).status_code == 204
    assert client.get("/auth/users/me/").json() == before | {"email": "new@example.com", "email_verified": True}
    assert is_bad_link(follow(api, EMAIL_CHANGE, to_new))
    assert is_bad_link(use(api, PASSWORD_RESET, encode_uid(user.pk), pending_reset))
    logins = [{"email": "old@example.com"}, {"email": "new@example.com"}]
    assert [api.post("/auth/jwt/create/", x | {"password": PASSWORD}).status_code for x in logins] == [401, 200]


def test_without_the_password_no_change_of_address_begins(as_user):
    """U15, L12"""
    client = as_user(make_user())
    assert ask_to_move(client, "new@example.com", password="wrong").status_code == 400
    assert client.post("/auth/users/set_email/", {"new_email": "new@example.com"}).status_code == 400
    assert not OutgoingEmail.objects.exists()


def test_an_address_that_has_an_account_gets_no_link_and_nobody_is_told(as_user, mailbox):
    """U15, N1"""
    user = make_user()
    make_user(email="taken@example.com")
    client = as_user(user)
    answers = [answer(ask_to_move(client, address)) for address in ("taken@example.com", "free@example.com")]
    assert answers[0] == answers[1]
    assert sorted(message.to[0] for message in mailbox()) == sorted([user.email, user.email, "free@example.com"])


def test_an_address_taken_in_the_meantime_stays_with_who_took_it(api, as_user, mailbox):
    """U15, C1"""
    user = make_user(email="old@example.com")
    ask_to_move(as_user(user), "new@example.com")
    (to_new,) = [message for message in mailbox() if message.to == ["new@example.com"]]
    make_user(email="NEW@example.com")
    response = follow(api, EMAIL_CHANGE, to_new)
    assert [(e["field"], e["code"]) for e in response.json()["errors"]] == [("email", "email_taken")]
    user.refresh_from_db()
    assert (user.email, user.email_verified) == ("old@example.com", False)


# --- Undoing a change of address ---


def ask_as_thief(as_user, user: User) -> None:
    """Somebody who knows the password asks for the address to be changed."""
    assert ask_to_move(as_user(user), "thief@example.org").status_code == 204


def last_to(messages, address: str):
    return [message for message in messages if message.to == [address]][-1]


def test_a_thief_who_changed_all_there_is_loses_all_of_it_by_the_link_in_the_notice(api, as_user, mailbox):
    """U15, U9"""
    user = make_user(email_verified_at=timezone.now(), email="old@example.com", username="ada")
    ask_as_thief(as_user, user)
    to_old = last_to(mailbox(), "old@example.com")
    assert follow(api, EMAIL_CHANGE, last_to(mailbox(), "thief@example.org")).status_code == 204
    user.refresh_from_db()
    body = {"current_password": PASSWORD, "new_password": "rain on a tin roof"}
    assert as_user(user).post("/auth/users/set_password/", body).status_code == 204
    UserSocialAuth.objects.create(user=user, provider="oidc", uid="thief")
    login = {"username": "ada", "password": "rain on a tin roof"}
    pair = api.post("/auth/jwt/create/", login).json()
    user.refresh_from_db()
    pending = [make_token(link, user) for link in (EMAIL_CHANGE, PASSWORD_RESET)]

    assert follow(api, EMAIL_UNDO, to_old).status_code == 204
    user.refresh_from_db()
    assert (user.email, user.email_verified, user.has_usable_password()) == ("old@example.com", True, False)
    me = api.get("/auth/users/me/", headers={"Authorization": f"Bearer {pair['access']}"})
    refreshed = api.post("/auth/jwt/refresh/", {"refresh": pair["refresh"]})
    assert [me.status_code, refreshed.status_code, api.post("/auth/jwt/create/", login).status_code] == [401] * 3
    assert not TokenFamily.objects.exists()
    assert not UserSocialAuth.objects.exists()
    for link, token in zip((EMAIL_CHANGE, PASSWORD_RESET), pending, strict=True):
        assert is_bad_link(use(api, link, encode_uid(user.pk), token))
    assert follow(api, PASSWORD_RESET, last_to(mailbox(), "old@example.com")).status_code == 204
    assert api.post("/auth/jwt/create/", {"username": "ada", "password": NEW_PASSWORD}).status_code == 200


def test_a_link_to_a_new_address_that_is_still_to_be_written_ends_with_what_it_was_asked_by(api, as_user, mailbox):
    """U13, U15: it is of the moment at which it was asked for, whenever a worker comes to write it."""
    user = make_user(email_verified_at=timezone.now(), email="old@example.com")
    ask_as_thief(as_user, user)
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert as_user(user).post("/auth/users/set_password/", body).status_code == 204
    assert is_bad_link(follow(api, EMAIL_CHANGE, last_to(mailbox(), "thief@example.org")))


def test_a_change_that_is_still_pending_is_undone_too(api, as_user, mailbox):
    """U15"""
    user = make_user(email_verified_at=timezone.now(), email="old@example.com")
    ask_as_thief(as_user, user)
    assert follow(api, EMAIL_UNDO, last_to(mailbox(), "old@example.com")).status_code == 204
    assert is_bad_link(follow(api, EMAIL_CHANGE, last_to(mailbox(), "thief@example.org")))
    user.refresh_from_db()
    assert (user.email, user.email_verified, user.has_usable_password()) == ("old@example.com", True, False)


@pytest.mark.parametrize(
    "change",
    [
        {"password": "another"},
        {"token_version": 1},
        {"email": "thief@example.org", "email_verified_at": timezone.now()},
        {"username": "thief", "language": "ru", "discoverable_by_email": False},
    ],
)
def test_an_undo_outlives_what_a_thief_can_change(api, change):
    """U15"""
    user = make_user(email_verified_at=timezone.now(), email="old@example.com")
    token = make_token(EMAIL_UNDO, user)
    User.objects.filter(pk=user.pk).update(**change)
    assert use(api, EMAIL_UNDO, encode_uid(user.pk), token).status_code == 204


def test_the_undo_of_the_owner_counts_whatever_undo_a_thief_gets_by_moving_on(api):
    """U15: who moves an account twice gets the notice of the second change, and so an undo of it."""
    user = make_user(email_verified_at=timezone.now(), email="old@example.com")
    uid, owners = encode_uid(user.pk), EMAIL_UNDO.make(user, "old@example.com")
    first, second = (EMAIL_UNDO.make(user, "thief@example.org") for _notice in range(2))
    assert use(api, EMAIL_UNDO, uid, first).status_code == 204
    assert use(api, EMAIL_UNDO, uid, owners).status_code == 204
    assert is_bad_link(use(api, EMAIL_UNDO, uid, second))
    user.refresh_from_db()
    assert user.email == "old@example.com"
    later = EMAIL_UNDO.make(user, "old@example.com")
    assert use(api, EMAIL_UNDO, uid, later).status_code == 204


def test_an_undo_leaves_those_of_other_accounts_good(api):
    """U15: the ids of the two begin alike"""
    one = make_user()
    another = make_user(pk=one.pk * 10)
    tokens = [(user, make_token(EMAIL_UNDO, user)) for user in (one, another)]
    assert use(api, EMAIL_UNDO, encode_uid(one.pk), tokens[0][1]).status_code == 204
    User.objects.filter(pk=one.pk).update(email="elsewhere@example.com")
    assert use(api, EMAIL_UNDO, encode_uid(another.pk), tokens[1][1]).status_code == 204


@pytest.mark.parametrize(
    "other", [{"email_verified_at": timezone.now()}, {"is_active": False}], ids=["proved", "blocked"]
)
def test_an_old_address_that_is_anothers_for_good_meanwhile_stays_theirs(api, other):
    """U15"""
    user = make_user(email="thief@example.org")
    token = make_token(EMAIL_UNDO, user)
    owner = make_user(email="old@example.com", **other)
    before = list(User.objects.order_by("pk").values())
    response = use(api, EMAIL_UNDO, encode_uid(user.pk), token)
    assert [(e["field"], e["code"]) for e in response.json()["errors"]] == [("email", "email_taken")]
    assert list(User.objects.order_by("pk").values()) == before
    services.close_account(owner)
    assert use(api, EMAIL_UNDO, encode_uid(user.pk), token).status_code == 204


def test_signing_up_with_the_old_address_keeps_nobody_from_getting_it_back(api):
    """U15: a sign-up proves nothing, and a thief could make one."""
    user = make_user(email="thief@example.org")
    token = make_token(EMAIL_UNDO, user)
    squatter = make_user(email="old@example.com")
    assert use(api, EMAIL_UNDO, encode_uid(user.pk), token).status_code == 204
    user.refresh_from_db()
    squatter.refresh_from_db()
    assert (user.email, squatter.email, squatter.closed_at is None) == ("old@example.com", None, False)
    assert [mail.to for mail in OutgoingEmail.objects.all()] == ["old@example.com"]


def test_no_undo_lifts_a_block_or_opens_a_closed_account():
    """U14, U15: whatever happened since the link was looked at"""
    blocked, closed = make_user(), make_user()
    tokens = [make_token(EMAIL_UNDO, user) for user in (blocked, closed)]
    User.objects.filter(pk=blocked.pk).update(is_active=False)
    services.close_account(closed)
    for user, token in zip((blocked, closed), tokens, strict=True):
        with pytest.raises(InvalidLink):
            services.keep_email(user, token)
    assert not User.objects.filter(email="old@example.com").exists()


@pytest.mark.parametrize("password", [NEW_PASSWORD, "short", "ada@example.com!", "x" * 129, ""])
def test_a_bad_link_gets_its_answer_before_the_account_has_a_say(api, password):
    """N1, N6: no rule of its password, which knows its address, and no hash for who only guesses its id."""
    user = make_user(email="ada@example.com")
    for uid in (user.pk, 10**9):
        body = {"uid": encode_uid(uid), "token": "made-up", "new_password": password}
        with patch.object(User, "set_password", side_effect=AssertionError):
            codes = {error["code"] for error in api.post(CONFIRM[PASSWORD_RESET], body).json()["errors"]}
        assert codes & {"invalid_token", "max_length", "blank"}
        assert codes <= {"invalid_token", "max_length", "blank"}


def test_whoever_resets_the_password_of_an_unproved_address_is_alone_in_the_account(api):
    """U9, O4: who signed up with another's address and added a provider of his own stays out."""
    user = make_user()
    UserSocialAuth.objects.create(user=user, provider="oidc", uid="mallory")
    body = {"uid": encode_uid(user.pk), "token": PASSWORD_RESET.make(user), "new_password": NEW_PASSWORD}
    assert api.post(CONFIRM[PASSWORD_RESET], body).status_code == 204
    assert not UserSocialAuth.objects.exists()


def test_an_address_that_was_never_proved_is_offered_no_way_back(as_user, mailbox):
    """U15: it may be another's, who is not to be given the account of a stranger."""
    user = make_user(email="old@example.com")
    assert ask_to_move(as_user(user), "new@example.com").status_code == 204
    assert "/account/" not in last_to(mailbox(), "old@example.com").body


@pytest.mark.django_db(transaction=True)
def test_a_change_that_postgresql_ends_for_a_deadlock_is_tried_once_more(monkeypatch):
    """C10"""

    class DeadlockError(Exception):
        sqlstate = "40P01"

    def fail(times: int):
        tries = []

        @again_after_deadlock
        def work() -> int:
            tries.append(1)
            if len(tries) <= times:
                raise OperationalError from DeadlockError()
            return len(tries)

        return work

    assert fail(0)() == 1
    assert fail(1)() == 2
    with pytest.raises(OperationalError):
        fail(2)()
