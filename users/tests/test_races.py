"""What happens to one account, one login or one mail from two sides at once.

One side's transaction is in progress, and the other has to wait for it: that shows a lock each time, where two sides
that only start together would mostly miss each other.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Event
from types import SimpleNamespace

import pytest
from django.core import mail
from django.core.mail.backends import locmem
from django.utils import timezone

from config.tests.at_once import (
    all_at_once,
    database_for_threads,
    hashing_held_up,
    on_own_connection,
    transaction_in_progress,
)
from conftest import check_invariants
from users import limits, services
from users.errors import EmailTaken, InvalidLink, InvalidToken, UsernameTaken
from users.mail import PasswordChangedEmail, queue_for_whoever_has, send_password_reset
from users.models import MailRequest, OutgoingEmail, TokenFamily, User, digest
from users.tasks import _answer, _deliver_in_thread, deliver_waiting_mail
from users.tests.factories import PASSWORD, make_user
from users.tests.test_limits import hit
from users.tokens import ACTIVATION, EMAIL_CHANGE, EMAIL_UNDO, PASSWORD_RESET

pytestmark = pytest.mark.django_db(transaction=True)

NEW_PASSWORD = "staple under the moon"
OTHER_PASSWORD = "rain on a tin roof"
NEW_EMAIL = "new@example.com"
OLD_EMAIL = "old@example.com"


@pytest.fixture(autouse=True)
def _database_for_threads(transactional_db, tmp_path):
    with database_for_threads(tmp_path):
        yield
        check_invariants()


@pytest.fixture
def mail_waits(settings, monkeypatch):
    """A mail becomes a row, and nobody comes for it."""
    settings.EMAIL_BACKEND = "users.mail.QueueBackend"
    monkeypatch.setattr("users.mail.deliver_waiting_mail_soon", lambda: None)


# Each gives the service's work ready to be done.


def set_password(user):
    return partial(services.set_password, user, NEW_PASSWORD)


def reset_password(user):
    return partial(services.reset_password, user, PASSWORD_RESET.make(user), NEW_PASSWORD)


def change_email(user):
    return partial(services.change_email, user, EMAIL_CHANGE.make(user, NEW_EMAIL))


def verify_email(user):
    return partial(services.verify_email, user, ACTIVATION.make(user))


def keep_email(user):
    return partial(services.keep_email, user, EMAIL_UNDO.make(user, OLD_EMAIL))


def close_account(user):
    return partial(services.close_account, user)


def change_account(user):
    return partial(services.change_account, user, username="ada")


def start_beside(first, late, user):
    """Have `late` wait for `first`. Each has its own copy of the account, as two requests have."""
    first, late = first(User.objects.get(pk=user.pk)), late(User.objects.get(pk=user.pk))
    with transaction_in_progress() as start:
        first()
        return start(late)


@pytest.mark.parametrize("use_of_a_link", [reset_password, change_email, verify_email])
@pytest.mark.parametrize("first", [set_password, reset_password, change_email, verify_email, keep_email, close_account])
def test_a_link_waits_for_another_change_of_the_account_and_is_worth_nothing_after_it(first, use_of_a_link):
    """C7, U13: the second use of one link among them"""
    user = make_user()
    late = start_beside(first, use_of_a_link, user)
    with pytest.raises(InvalidLink):
        late.result()
    user.refresh_from_db()
    assert user.email == {change_email: NEW_EMAIL, keep_email: OLD_EMAIL, close_account: None}.get(first, user.email)
    assert user.check_password(NEW_PASSWORD) is (first in (set_password, reset_password))


@pytest.mark.parametrize("first", [set_password, reset_password, change_email, verify_email])
def test_an_undo_waits_for_another_change_of_the_account_and_has_the_last_word(first):
    """U15"""
    user = make_user()
    start_beside(first, keep_email, user).result()
    user.refresh_from_db()
    assert (user.email, user.email_verified, user.has_usable_password()) == (OLD_EMAIL, True, False)
    assert user.token_version == (2 if first in (set_password, reset_password) else 1)


def test_of_two_uses_of_one_undo_at_once_one_counts():
    """C7, U15"""
    user = make_user()
    token = EMAIL_UNDO.make(user, OLD_EMAIL)
    late = start_beside(*[lambda user: partial(services.keep_email, user, token)] * 2, user)
    with pytest.raises(InvalidLink):
        late.result()
    user.refresh_from_db()
    assert (user.email, user.token_version) == (OLD_EMAIL, 1)


def test_an_undo_waits_for_the_account_to_be_closed_and_opens_it_no_more():
    """P2, U15"""
    user = make_user()
    with pytest.raises(InvalidLink):
        start_beside(close_account, keep_email, user).result()
    user.refresh_from_db()
    assert (user.email, user.is_active) == (None, False)


def test_an_account_that_proves_its_address_while_an_undo_waits_for_it_keeps_it():
    """U15, C1"""
    user, owner = make_user(), make_user(email=OLD_EMAIL)
    with pytest.raises(EmailTaken):
        start_beside(lambda _user: verify_email(owner), keep_email, user).result()
    owner.refresh_from_db()
    assert (owner.email, owner.email_verified) == (OLD_EMAIL, True)


@pytest.mark.parametrize("first", [set_password, reset_password, change_email, verify_email])
def test_a_new_password_waits_for_another_change_of_the_account_and_undoes_none_of_it(first):
    user = make_user()
    start_beside(first, lambda user: partial(services.set_password, user, OTHER_PASSWORD), user).result()
    email = user.email
    user.refresh_from_db()
    assert user.check_password(OTHER_PASSWORD)
    assert user.token_version == (2 if first in (set_password, reset_password) else 1)
    assert user.email == (NEW_EMAIL if first is change_email else email)
    assert user.email_verified is (first is not set_password)


@pytest.mark.parametrize("first", [set_password, reset_password, change_email, verify_email, change_account])
@pytest.mark.usefixtures("mail_waits")
def test_closing_an_account_waits_for_another_change_of_it_and_leaves_nothing(first):
    """P2"""
    user = make_user()
    start_beside(first, close_account, user).result()
    user.refresh_from_db()
    assert (user.email, user.is_active) == (None, False)
    assert user.username.startswith("closed-")
    assert user.token_version == (2 if first in (set_password, reset_password) else 1)
    assert not OutgoingEmail.objects.exists()


@pytest.mark.parametrize("late", [set_password, change_account, close_account])
@pytest.mark.usefixtures("mail_waits")
def test_nothing_is_written_to_an_account_that_was_closed_meanwhile(late):
    """P2"""
    user = make_user()
    with pytest.raises(InvalidToken):
        start_beside(close_account, late, user).result()
    user.refresh_from_db()
    assert user.username.startswith("closed-")
    assert not user.has_usable_password()
    assert not OutgoingEmail.objects.exists()


@pytest.mark.parametrize("change", [set_password, reset_password])
def test_a_new_password_is_hashed_before_the_lock_so_that_another_change_gets_through(change):
    user = make_user()
    with ThreadPoolExecutor() as pool, hashing_held_up(NEW_PASSWORD) as begun:
        slow = pool.submit(on_own_connection, change(User.objects.get(pk=user.pk)))
        assert begun.wait(timeout=20)
        other = partial(services.change_account, user, discoverable_by_email=False)
        pool.submit(on_own_connection, other).result(timeout=20)
    slow.result()
    user.refresh_from_db()
    assert (user.check_password(NEW_PASSWORD), user.discoverable_by_email) == (True, False)


def test_two_changes_of_different_fields_at_once_are_both_kept():
    """C12"""
    user = make_user()
    start_beside(change_account, lambda user: partial(services.change_account, user, discoverable_by_email=False), user)
    user.refresh_from_db()
    assert (user.username, user.discoverable_by_email) == ("ada", False)


@pytest.mark.parametrize(
    ("same", "refusal"),
    [({"email": NEW_EMAIL}, EmailTaken), ({"username": "ada"}, UsernameTaken)],
    ids=["email", "username"],
)
def test_of_two_sign_ups_with_one_address_or_name_one_is_refused(same, refusal):
    """C1"""
    first, late = ({"email": f"{name}@example.com", "password": PASSWORD} | same for name in ("first", "late"))
    with transaction_in_progress() as start:
        services.open_account(services.prepare_account(**first))
        refused = start(services.open_account, services.prepare_account(**late))
    with pytest.raises(refusal):
        refused.result()
    assert User.objects.count() == 1


def test_an_address_that_its_owner_is_giving_up_goes_to_who_signs_up_with_it_meanwhile():
    user = make_user()
    with transaction_in_progress() as start:
        services.close_account(User.objects.get(pk=user.pk))
        late = start(services.open_account, services.prepare_account(email=user.email, password=PASSWORD))
    assert late.result().email == user.email


def test_two_changes_to_one_address_at_once_give_it_to_one_account():
    one, other = make_user(), make_user()
    with transaction_in_progress() as start:
        change_email(one)()
        late = start(change_email(other))
    with pytest.raises(EmailTaken):
        late.result()


def test_of_two_uses_of_one_refresh_token_at_once_one_wins_and_the_login_goes_on():
    """C6"""
    family = make_login()
    with transaction_in_progress() as start:
        assert TokenFamily.rotate(family.pk, family.user_id, 0, "shown", "first")
        late = start(TokenFamily.rotate, family.pk, family.user_id, 0, "shown", "late")
    assert not late.result()
    family.refresh_from_db()
    assert (family.current, family.ended_at) == (digest("first"), None)


def test_of_two_reuses_of_one_refresh_token_at_once_one_is_told():
    """C6"""
    family = make_login()
    reuse = family.pk, family.user_id, 0, "stolen", "another"
    with transaction_in_progress() as start:
        assert TokenFamily.rotate(*reuse) is TokenFamily.Rotation.REUSED
        late = start(TokenFamily.rotate, *reuse)
    assert late.result() is TokenFamily.Rotation.REFUSED


def test_a_refresh_token_that_is_used_while_its_login_is_ended_buys_nothing():
    family = make_login()
    with transaction_in_progress() as start:
        assert TokenFamily.end(family.pk)
        used, ended = (
            start(TokenFamily.rotate, family.pk, family.user_id, 0, "shown", "late"),
            start(TokenFamily.end, family.pk),
        )
    assert not used.result()
    assert not ended.result()
    family.refresh_from_db()
    assert family.current == digest("shown")


def make_login():
    tomorrow = timezone.now() + timedelta(days=1)
    return TokenFamily.objects.create(user=make_user(), current=digest("shown"), expires_at=tomorrow)


def test_of_two_who_claim_one_mail_at_once_one_gets_it():
    """C17"""
    made = OutgoingEmail.objects.create(to="ada@example.com", subject="Hello", message={})
    mail, same = (OutgoingEmail.objects.get(pk=made.pk) for _sender in range(2))
    lease = timezone.now() + timedelta(minutes=2)
    with transaction_in_progress() as start:
        assert mail.claim(until=lease)
        late = start(same.claim, until=lease)
    assert late.result() is False
    made.refresh_from_db()
    assert made.tries == 1


@pytest.mark.usefixtures("mail_waits")
def test_of_two_workers_that_answer_one_request_one_queues_the_mail():
    """C17"""
    user = make_user()
    queue_for_whoever_has(user.email, send_password_reset)
    request = MailRequest.objects.get()
    with transaction_in_progress() as start:
        _answer(request)
        late = start(_answer, request)
    assert late.result() is None
    assert OutgoingEmail.objects.filter(to=user.email).count() == 1


class SleepyBackend(locmem.EmailBackend):
    """A mail server that takes the first mail only when it is woken."""

    asleep, woken = Event(), Event()

    def send_messages(self, messages):
        if self.asleep.is_set():
            assert self.woken.is_set(), "two mails at once"
        self.asleep.set()
        assert self.woken.wait(timeout=20)
        return super().send_messages(messages)


@pytest.mark.usefixtures("mail_waits")
def test_a_process_without_workers_sends_one_mail_at_a_time_and_none_is_left_over(settings):
    """F8: so that a mail server that hangs does not use up the connections to the database"""
    settings.EMAIL_DELIVERY_BACKEND = f"{__name__}.SleepyBackend"
    mail.send_mail("Hello", "Body", None, ["ada@example.com"])
    with ThreadPoolExecutor() as pool:
        sender = pool.submit(_deliver_in_thread)
        assert SleepyBackend.asleep.wait(timeout=20)
        mail.send_mail("Hello", "Body", None, ["bob@example.com"])
        pool.submit(_deliver_in_thread).result(timeout=20)
        SleepyBackend.woken.set()
        sender.result()
    assert [message.to for message in mail.outbox] == [["ada@example.com"], ["bob@example.com"]]


class AccountClosingBackend(locmem.EmailBackend):
    """A mail server that takes so long over ada's mail that she closes her account meanwhile."""

    fails: bool

    def send_messages(self, messages):
        if "ada@example.com" in messages[0].to:
            services.close_account(User.objects.get(email="ada@example.com"))
            if self.fails:
                raise TimeoutError
        return super().send_messages(messages)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.usefixtures("mail_waits")
def test_closing_an_account_while_its_mail_is_sent_holds_up_no_other_mail(fails, settings, monkeypatch):
    """P2, F8"""
    monkeypatch.setattr(AccountClosingBackend, "fails", fails, raising=False)
    settings.EMAIL_DELIVERY_BACKEND = f"{__name__}.AccountClosingBackend"
    for to in ("ada@example.com", "bob@example.com"):
        PasswordChangedEmail(make_user(email=to)).queue()
    deliver_waiting_mail()
    assert mail.outbox[-1].to == ["bob@example.com"]
    assert OutgoingEmail.objects.get().to == "bob@example.com"


@pytest.mark.parametrize("before", [0, 2])
def test_a_use_that_is_being_counted_leaves_no_room_for_another_past_the_limit(monkeypatch, before):
    """T1: whether it is the first of its span or not"""
    monkeypatch.setattr(limits, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))  # no span ends meanwhile
    use = partial(hit, "try", "ada", [(before + 1, 3600)])
    assert [use() for _use in range(before)] == [0] * before
    with transaction_in_progress() as start:
        assert use() == 0
        late = start(use)
    assert late.result() == 3600


def test_ten_times_the_limit_at_once_lets_just_the_limit_through(monkeypatch):
    """T1"""
    monkeypatch.setattr(limits, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))  # no span ends meanwhile
    waits = all_at_once(*[partial(hit, "try", "ada", [(3, 3600), (100, 86400)])] * 30)
    assert sorted(waits)[:4] == [0, 0, 0, 3600]
