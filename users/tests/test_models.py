"""What the rows of `users` keep true by themselves."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import get_ident

import pytest
from argon2.exceptions import HashingError, VerificationError
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from users.hashers import Argon2idHasher
from users.models import USERNAME, OutgoingEmail, TokenFamily, User, digest, made_up_username
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def make_family(user: User | None = None, **fields) -> TokenFamily:
    made_up = {"current": digest("first"), "expires_at": timezone.now() + timedelta(days=90)}
    return TokenFamily.objects.create(user=user or make_user(), **made_up | fields)


def make_mail(**fields) -> OutgoingEmail:
    return OutgoingEmail.objects.create(**{"to": "bob@example.com", "subject": "Hello", "message": {}} | fields)


@pytest.mark.parametrize("username", ["ab", "7k", "Ada.Lovelace", "a_b-c.d", "a" * 40])
def test_a_username_is_a_plain_handle(username):
    USERNAME(username)
    assert User.objects.get(username__lower=make_user(username=username).username.lower()).username == username


@pytest.mark.parametrize(
    "username",
    ["", "a", "a" * 41, "-ab", ".ab", "_ab", "a b", "a@b", "ab\n", "ab\x00", "аb", "a/b", "<b>", "a,b", "é1"],
)
def test_what_is_no_plain_handle_is_no_username(username):
    """B4, B15, R20"""
    with pytest.raises(ValidationError):
        USERNAME(username)


def test_a_made_up_username_is_a_handle_and_not_a_guess():
    made_up = {made_up_username() for _time in range(1000)}
    assert len(made_up) == 1000
    assert all(re.fullmatch("user-[2-9a-z]{10}", username) for username in made_up)


def test_two_usernames_that_differ_in_case_are_one():
    """C1"""
    make_user(username="Ada")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_user(username="aDA")


def test_any_number_of_closed_accounts_has_no_address():
    for _account in range(2):
        User.objects.filter(pk=make_user().pk).update(email=None)
    assert User.objects.filter(email=None).count() == 2


def test_a_new_account_of_the_manager_needs_an_address():
    with pytest.raises(ValueError, match=r"\A\Z"):
        User.objects.create_user("nonsense")
    assert not User.objects.exists()


@pytest.mark.parametrize("update_fields", [None, ["password"], ["password", "username"]])
def test_a_new_password_counts_the_token_version_up_whoever_saves_it(update_fields):
    """U9: the admin and `changepassword` know nothing of tokens."""
    user = make_user()
    user.set_password("staple under the moon")
    user.save(update_fields=update_fields)
    user.refresh_from_db()
    assert user.token_version == 1
    user.save()
    user.refresh_from_db()
    assert user.token_version == 1


def test_the_password_of_a_new_account_counts_nothing_up():
    """U9"""
    user = User(email="ada@example.com", username="ada")
    user.set_password(PASSWORD)
    assert user.insert_if_unique()
    user.save()
    user.refresh_from_db()
    assert user.token_version == 0
    assert user.check_password(PASSWORD)


def test_only_the_first_to_show_a_refresh_token_gets_its_successor():
    """C6, L5"""
    family = make_family()
    assert TokenFamily.rotate(family.pk, family.user_id, 0, "first", "second")
    assert not TokenFamily.rotate(family.pk, family.user_id, 0, "first", "other")
    family.refresh_from_db()
    assert (family.current, family.previous, family.ended_at) == (digest("second"), digest("first"), None)


@pytest.mark.parametrize(
    ("ago", "ends"), [(TokenFamily.REUSE_GRACE - SECOND, False), (TokenFamily.REUSE_GRACE + SECOND, True)]
)
def test_a_token_shown_again_ends_the_family_once_the_grace_is_over(ago, ends):
    """C6, L5"""
    family = make_family(current=digest("second"), previous=digest("first"), rotated_at=timezone.now() - ago)
    assert not TokenFamily.rotate(family.pk, family.user_id, 0, "first", "other")
    assert TokenFamily.rotate(family.pk, family.user_id, 0, "second", "third") is not ends


@pytest.mark.parametrize("shown", ["long ago", "made up"])
def test_a_token_older_than_the_last_one_gets_no_grace(shown):
    """C6, L5"""
    family = make_family(current=digest("second"), previous=digest("first"), rotated_at=timezone.now())
    assert not TokenFamily.rotate(family.pk, family.user_id, 0, shown, "other")
    assert not TokenFamily.rotate(family.pk, family.user_id, 0, "second", "third")


@pytest.mark.parametrize("fields", [{"expires_at": timezone.now() - SECOND}, {"ended_at": timezone.now() - SECOND}])
def test_a_family_that_is_over_gives_no_successor(fields):
    """U12"""
    family = make_family(**fields)
    assert not TokenFamily.rotate(family.pk, family.user_id, 0, "first", "second")
    family.refresh_from_db()
    assert family.current == digest("first")


@pytest.mark.parametrize("change", [{"is_active": False}, {"token_version": 1}])
def test_the_login_of_who_is_blocked_or_has_a_new_password_gives_no_successor_and_is_not_ended_by_reuse(change):
    """U9, U12"""
    family = make_family()
    User.objects.filter(pk=family.user_id).update(**change)
    for shown in ("first", "long ago"):
        assert TokenFamily.rotate(family.pk, family.user_id, 0, shown, "second") is TokenFamily.Rotation.REFUSED
    family.refresh_from_db()
    assert (family.current, family.ended_at) == (digest("first"), None)


def test_a_family_ends_once_and_leaves_others_alone():
    """U11"""
    family, other = make_family(), make_family()
    assert TokenFamily.end(family.pk)
    assert not TokenFamily.end(family.pk)
    assert TokenFamily.rotate(other.pk, other.user_id, 0, "first", "second")


def test_mail_is_due_from_the_very_second_of_its_next_try_until_it_is_sent_or_given_up():
    now = timezone.now()
    waiting = make_mail(next_try_at=now)
    make_mail(next_try_at=now, sent_at=now)
    make_mail(next_try_at=now, failed_at=now)
    assert list(OutgoingEmail.objects.due(now - SECOND)) == []
    assert list(OutgoingEmail.objects.due(now)) == [waiting]


def test_of_two_senders_one_gets_the_mail():
    """C17"""
    mail = make_mail()
    same = OutgoingEmail.objects.get()
    until = timezone.now() + timedelta(minutes=2)
    assert mail.claim(until)
    assert not same.claim(until)
    same.refresh_from_db()
    assert (same.tries, same.next_try_at) == (1, until)


@pytest.mark.parametrize("state", ["sent_at", "failed_at"])
def test_nobody_takes_a_mail_that_is_done_with(state):
    """C17"""
    mail = make_mail()
    OutgoingEmail.objects.update(**{state: timezone.now()})
    assert not mail.claim(timezone.now() + timedelta(minutes=2))


def test_renewing_an_older_hash_undoes_no_change_of_the_password(settings):
    """U3, U9: whoever looks at the old password while a new one is stored finds it right, and leaves the new one."""
    settings.PASSWORD_HASHERS = ["users.hashers.Argon2idHasher", *settings.PASSWORD_HASHERS]
    user = make_user()
    User.objects.filter(pk=user.pk).update(password=make_password("old", hasher="md5"))
    stale, fresh = User.objects.get(), User.objects.get()
    fresh.set_password("new")
    fresh.save()
    assert stale.check_password("old")
    stored = User.objects.get()
    assert stored.check_password("new")
    assert not stored.check_password("old")


def test_a_superuser_needs_no_proof_of_the_address_to_sign_in(settings):
    settings.REQUIRE_EMAIL_VERIFICATION = True
    boss = User.objects.create_superuser("boss@example.com", "staple under the moon")
    assert boss.may_sign_in
    assert not make_user().may_sign_in


def test_a_password_that_there_is_no_memory_to_hash_is_a_matter_of_memory(monkeypatch):
    """F11"""

    def fail(*args, **kwargs):
        raise HashingError("Memory allocation error")

    def refuse(*args, **kwargs):
        raise VerificationError("Memory allocation error")

    hasher = Argon2idHasher()
    stored = make_password(PASSWORD, hasher=hasher)
    monkeypatch.setattr("argon2.low_level.hash_secret", fail)
    with pytest.raises(MemoryError):
        make_password(PASSWORD, hasher=hasher)
    monkeypatch.setattr("argon2._password_hasher.verify_secret", refuse)
    with pytest.raises(MemoryError):
        hasher.verify(PASSWORD, stored)


def test_no_more_passwords_are_hashed_at_once_than_a_process_has_processors(settings, monkeypatch):
    """Each thread that ever hashed keeps 19 MiB."""
    settings.WEB_WORKERS = 1
    hashing = set()

    def hash_secret(*args, **kwargs):
        hashing.add(get_ident())
        return b"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"

    monkeypatch.setattr("argon2.low_level.hash_secret", hash_secret)
    with ThreadPoolExecutor(4 * os.cpu_count()) as people:
        list(people.map(lambda _person: Argon2idHasher().encode(PASSWORD, "salt"), range(100)))
    assert 0 < len(hashing) <= os.cpu_count()


@pytest.mark.parametrize(
    ("few", "index"),
    [
        (User.objects.filter(is_staff=True), "users_user_staff"),
        (User.objects.filter(is_active=False, closed_at=None), "users_user_blocked"),
        (User.objects.filter(closed_at__isnull=False), "users_user_closed"),
        (OutgoingEmail.objects.filter(failed_at__isnull=False), "users_outgoingemail_given_up"),
    ],
)
def test_the_few_that_staff_ask_for_are_not_searched_for_among_all(few, index):
    """As the lists of the admin do: the newest first."""
    User.objects.bulk_create(User(email=f"{n}@example.com", username=f"user{n}") for n in range(2000))
    OutgoingEmail.objects.bulk_create(OutgoingEmail(to="bob@example.com", message={}) for _n in range(2000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    assert index in few.order_by("-id").explain()
