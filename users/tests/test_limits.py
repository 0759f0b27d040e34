"""Limits: how often, how long to wait, and that a limit tells nothing of its own."""

from datetime import timedelta
from functools import partial

import pytest
from django.test import Client
from django.utils import timezone
from redis import Redis

from config.api.context import client
from config.tests.at_once import all_at_once
from users import audit
from users.errors import LimitReached
from users.limits import Bucket, Use, count_mail
from users.models import AuditEvent, OutgoingEmail, Usage, User
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = 60, 3600, 86400
NOON = 1_900_000_000 // DAY * DAY + DAY // 2


def hit(name: str, subject: str, pairs: list[tuple[int, int]]) -> int:
    """Use a bucket once; 0, or the seconds to wait."""
    try:
        Use(Bucket(name, subject, pairs))
    except LimitReached as refusal:
        return refusal.wait
    return 0


def test_as_many_pass_as_the_limit_says_and_the_rest_wait_for_the_end_of_the_span(clock, store):
    """T1, T7"""
    clock.now = NOON + 10.9
    assert [hit("mail", "bob", [(3, MINUTE)]) for _time in range(5)] == [0, 0, 0, 50, 50]


def test_who_waits_as_long_as_told_may_go_on(clock, store):
    """T7"""
    assert hit("mail", "bob", [(1, HOUR)]) == 0
    clock.now += 1234.5
    wait = hit("mail", "bob", [(1, HOUR)])
    clock.now += wait - 1
    assert hit("mail", "bob", [(1, HOUR)]) == 1
    clock.now += 1
    assert hit("mail", "bob", [(1, HOUR)]) == 0


def test_of_several_limits_each_holds(clock, store):
    """T6"""
    both = [(2, HOUR), (3, DAY)]
    assert [hit("mail", "bob", both) for _time in range(3)] == [0, 0, HOUR]
    clock.now += HOUR
    assert [hit("mail", "bob", both) for _time in range(2)] == [0, DAY // 2 - HOUR]


def test_subjects_and_names_are_counted_apart(clock, store):
    uses = [("mail", "bob"), ("mail", "eve"), ("codes", "bob")]
    assert [hit(name, subject, [(1, HOUR)]) for name, subject in uses * 2] == [0, 0, 0, HOUR, HOUR, HOUR]


def test_no_limit_counts_nothing(clock, store):
    assert [hit("mail", "bob", []) for _time in range(100)] == [0] * 100
    assert not Usage.objects.exists()


def test_a_count_keeps_no_address(clock):
    """P3, P6"""
    hit("mail", "bob@example.com", [(1, HOUR)])
    usage = Usage.objects.get()
    assert len(usage.key) == 64
    assert "bob" not in usage.key
    assert usage.ends_at.timestamp() == NOON + HOUR


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("bob@example.com", True),
        ("b.o.b@example.com", True),
        ("bob+news@example.com", True),
        ("b.ob+a+b@example.com", True),
        ("bobby@example.com", False),
        ("bob@example.org", False),
        ("bob@exam.ple.com", False),
    ],
)
def test_dots_and_tags_make_no_new_mailbox(settings, clock, address, same):
    """T6"""
    settings.THROTTLE_MAIL_MAILBOX = [(1, HOUR)]
    count_mail(to="bob@example.com")
    if same:
        with pytest.raises(LimitReached) as refusal:
            count_mail(to=address)
        assert refusal.value.wait == HOUR
    else:
        count_mail(to=address)


def test_a_client_that_asks_is_counted_whoever_the_mail_is_for_and_however_it_is_asked_for(
    api, as_user, settings, clock
):
    """T6"""
    settings.THROTTLE_MAIL_CLIENT = [(4, HOUR)]
    for number, call in enumerate([*CALLS, "reset_password", "resend_activation"]):
        status = ask(api, as_user, call, f"friend{number}@example.com", make_user()).status_code
        assert status == (204 if number < 4 else 429)
    elsewhere = api.post("/auth/users/reset_password/", {"email": "x@example.com"}, REMOTE_ADDR="203.0.113.7")
    assert elsewhere.status_code == 204


CALLS = ["reset_password", "resend_activation", "set_email"]


def ask(api, as_user, call: str, address: str, sender):
    if call == "set_email":
        return as_user(sender).post(f"/auth/users/{call}/", {"new_email": address, "current_password": PASSWORD})
    return api.post(f"/auth/users/{call}/", {"email": address})


@pytest.mark.parametrize("call", CALLS)
def test_past_the_limit_a_known_and_an_unknown_address_get_the_same_429(api, as_user, settings, clock, call):
    """N3, T6, T7, R17"""
    settings.THROTTLE_MAIL_MAILBOX = [(2, HOUR)]
    clock.now += 600
    known = make_user(email="known@example.com")
    answers = {}
    for address in (known.email, "unknown@example.com"):
        statuses = [ask(api, as_user, call, address, make_user()).status_code for _time in range(2)]
        mails = OutgoingEmail.objects.count()
        response = ask(api, as_user, call, address.upper(), make_user())
        assert statuses == [204, 204]
        assert OutgoingEmail.objects.count() == mails
        answers[address] = response.json() | {"request_id": None}, dict(response.headers) | {"X-Request-ID": None}
    assert answers[known.email] == answers["unknown@example.com"]
    body, headers = answers[known.email]
    assert (body["status"], body["code"], headers["Retry-After"]) == (429, "throttled", "3000")


def test_the_limit_of_a_mailbox_holds_over_all_kinds_of_mail(api, as_user, settings, clock):
    """T6"""
    settings.THROTTLE_MAIL_MAILBOX = [(3, HOUR)]
    sender = make_user()
    for call in CALLS:
        assert ask(api, as_user, call, "bob@example.com", sender).status_code == 204
    for call in CALLS:
        assert ask(api, as_user, call, "bob@example.com", sender).status_code == 429


@pytest.mark.parametrize("call", ["set_password", "set_email"])
def test_nobody_floods_their_own_mailbox_which_may_be_anothers_with_notices(as_user, settings, clock, call):
    """T6"""
    settings.THROTTLE_MAIL_MAILBOX = [(3, HOUR)]
    user = make_user()
    answers = []
    for number in range(4):
        body = {"new_email": f"n{number}@example.com", "new_password": PASSWORD, "current_password": PASSWORD}
        answers.append(as_user(User.objects.get(pk=user.pk)).post(f"/auth/users/{call}/", body).status_code)
    assert answers == [204] * 3 + [429]
    assert OutgoingEmail.objects.filter(to=user.email).count() == 3


@pytest.mark.parametrize("call", CALLS)
def test_a_limit_of_zero_is_none(api, as_user, settings, call):
    settings.THROTTLE_MAIL_MAILBOX = settings.THROTTLE_MAIL_CLIENT = []
    sender = make_user()
    statuses = {ask(api, as_user, call, "bob@example.com", sender).status_code for _time in range(25)}
    assert statuses == {204}


def test_what_is_refused_before_it_is_read_counts_for_nobody(api, as_user, settings):
    settings.THROTTLE_MAIL_MAILBOX = [(1, HOUR)]
    client = as_user(make_user())
    wrong = {"new_email": "bob@example.com", "current_password": "wrong"}
    assert client.post("/auth/users/set_email/", wrong).status_code == 400
    assert api.post("/auth/users/reset_password/", {"email": "nonsense"}).status_code == 400
    assert not Usage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_refused_use_is_counted_in_no_bucket_and_none_is_given_back_twice(clock, store):
    """T1"""
    wide, narrow = Bucket("wide", "bob", [(3, HOUR)]), Bucket("narrow", "bob", [(1, HOUR)])
    use = Use(wide, narrow)
    for _time in range(5):
        with pytest.raises(LimitReached):
            Use(wide, narrow)
    for _time in range(3):
        use.refund()
    assert [hit("wide", "bob", [(3, HOUR)]) for _time in range(4)] == [0, 0, 0, HOUR]


def test_a_counter_in_redis_ends_and_its_key_tells_nothing(clock, valkey, settings):
    """T1, P3: nothing is kept in Redis for longer than it counts."""
    redis = Redis.from_url(valkey)
    redis.flushall()
    settings.REDIS_URL = valkey
    hit("mail", "bob@example.com", [(1, HOUR)])
    [key] = redis.keys()
    assert redis.expiretime(key) == NOON + HOUR
    settings.SECRET_KEY = "another" * 10
    hit("mail", "bob@example.com", [(1, HOUR)])
    assert len(redis.keys()) == 2


def test_a_right_current_password_is_no_failure(as_user, sign_in_limits):
    """T5, T8"""
    user = make_user()
    for number in range(5):
        body = {"new_email": f"n{number}@example.com", "current_password": PASSWORD}
        assert as_user(user).post("/auth/users/set_email/", body).status_code == 204


def test_in_redis_too_ten_times_the_limit_at_once_lets_just_the_limit_through(clock, valkey, settings):
    """T1"""
    settings.REDIS_URL = valkey
    waits = all_at_once(*[partial(hit, "try", "at-once", [(3, HOUR), (100, DAY)])] * 30)
    assert sorted(waits)[:4] == [0, 0, 0, HOUR]


# --- signing in ---


@pytest.fixture
def sign_in_limits(settings, store, clock):
    settings.THROTTLE_SIGN_IN = [(3, HOUR)]
    settings.THROTTLE_SIGN_IN_ACCOUNT = [(5, DAY)]
    settings.THROTTLE_SIGN_IN_CLIENT = [(8, HOUR)]


def sign_in(api, password="wrong", address="203.0.113.1", **login):
    body = (login or {"email": "bob@example.com"}) | {"password": password}
    return api.post("/auth/jwt/create/", body, REMOTE_ADDR=address)


def statuses(api, times: int, **how) -> list[int]:
    return [sign_in(api, **how).status_code for _time in range(times)]


@pytest.mark.parametrize("known", [True, False])
def test_a_client_fails_so_often_to_sign_in_to_an_account_and_waits(api, sign_in_limits, known):
    """T5, T7, N3, N5: whether there is such an account or not, however it is spelt, and with the right password too."""
    if known:
        make_user(email="bob@example.com")
    assert statuses(api, 2) == [401, 401]
    assert sign_in(api, email="BOB@Example.COM").status_code == 401
    refused = sign_in(api, email=" Bob@example.com ", password=PASSWORD)
    assert (refused.status_code, refused.json()["code"], refused["Retry-After"]) == (429, "throttled", "3600")
    assert sign_in(api, email="eve@example.com").status_code == 401
    assert sign_in(api, address="203.0.113.2").status_code == 401


def test_an_account_is_guessed_at_so_often_from_everywhere_and_its_owner_still_gets_in(api, sign_in_limits):
    """T5: no attack locks somebody out of a client from which they have signed in before."""
    make_user(email="bob@example.com")
    home = {"address": "198.51.100.9"}
    assert statuses(api, 1, password=PASSWORD, **home) == [200]
    attack = [sign_in(api, address=f"203.0.113.{n}").status_code for n in range(8)]
    assert attack == [401] * 5 + [429] * 3
    assert statuses(api, 1, password=PASSWORD, address="203.0.113.99") == [429]
    assert statuses(api, 3, password=PASSWORD, **home) == [200] * 3


@pytest.mark.parametrize("alias", ["\u212aate@\uff45xample.com", "\u212aate@example.com", "KATE@\uff45xample.com"])
def test_no_spelling_of_a_login_is_a_way_round_its_limit(api, sign_in_limits, alias):
    """T5, T10, B10: what is no address finds nobody, and what is one counts as that address."""
    make_user(email="kate@example.com")
    assert statuses(api, 3, email="kate@example.com") == [401] * 3
    assert sign_in(api, email=alias, password=PASSWORD).status_code in (401, 429)


@pytest.mark.parametrize(
    "known",
    [
        lambda bob: signed_in_from_here(make_user()),  # another, from the same network
        lambda bob: audit.record(AuditEvent.Kind.SIGN_IN_FAILED, bob),
        lambda bob: signed_in_from_here(bob, days_ago=91),
        lambda bob: None,
    ],
)
def test_only_who_signed_in_to_that_account_from_there_of_late_is_known(api, sign_in_limits, known):
    """T5"""
    bob = make_user(email="bob@example.com")
    token = client.set("203.0.113.99")
    known(bob)
    client.reset(token)
    assert [sign_in(api, address=f"203.0.113.{n}").status_code for n in range(6)] == [401] * 5 + [429]
    assert statuses(api, 1, password=PASSWORD, address="203.0.113.99") == [429]


def signed_in_from_here(user: User, days_ago: int = 0) -> None:
    audit.record(AuditEvent.Kind.SIGNED_IN, user)
    AuditEvent.objects.update(created_at=timezone.now() - timedelta(days=days_ago))


def test_a_client_fails_so_often_whatever_the_account(api, sign_in_limits):
    """T5"""
    assert [sign_in(api, email=f"a{n}@example.com").status_code for n in range(10)] == [401] * 8 + [429] * 2


def test_successes_do_not_count_and_end_the_row_of_failures(api, sign_in_limits):
    """T5, T8"""
    make_user(email="bob@example.com")
    assert statuses(api, 30, password=PASSWORD) == [200] * 30
    for _round in range(3):
        assert statuses(api, 2) == [401] * 2
        assert statuses(api, 1, password=PASSWORD) == [200]


def test_the_login_page_of_the_admin_counts_with_the_api(api, sign_in_limits):
    """T11, T7, T10"""
    make_user(email="bob@example.com", is_staff=True, is_superuser=True)
    form = {"username": "bob@example.com", "password": "wrong"}
    browser = Client(REMOTE_ADDR="203.0.113.1")
    assert [browser.post("/admin/login/", form).status_code for _time in range(2)] == [200, 200]
    assert statuses(api, 1) == [401]
    refused = browser.post("/admin/login/", form | {"password": PASSWORD})
    assert (refused.status_code, refused["Retry-After"]) == (429, "3600")
    assert "text/html" in refused["Content-Type"]
    assert sign_in(api, password=PASSWORD).status_code == 429


def test_being_held_up_is_written_down_once_and_not_at_every_try(api, sign_in_limits):
    """U20"""
    user = make_user(email="bob@example.com")
    statuses(api, 9)
    kinds = list(AuditEvent.objects.filter(user=user).order_by("id").values_list("kind", flat=True))
    assert kinds == ["sign_in_failed"] * 3 + ["sign_in_limited"]


@pytest.mark.parametrize("path", ["set_password", "set_email", "me"])
def test_a_token_that_was_found_is_no_way_to_guess_the_password(as_user, sign_in_limits, path):
    """T5"""
    client = as_user(make_user())
    body = {"new_password": "staple under the moon", "new_email": "new@example.com"}
    send = client.delete if path == "me" else client.post
    answers = [send(f"/auth/users/{path}/", body | {"current_password": "wrong"}).status_code for _time in range(4)]
    assert answers == [400] * 3 + [429]


def test_a_mailbox_that_has_had_its_share_still_signs_up(api, settings, clock):
    """T0, T6: +tags make accounts of their own, and no flood."""
    settings.THROTTLE_MAIL_MAILBOX = [(2, HOUR)]
    for number in range(4):
        body = {"email": f"bob+{number}@example.com", "password": PASSWORD}
        assert api.post("/auth/users/", body).status_code == 201
    assert OutgoingEmail.objects.count() == 2
    assert api.post("/auth/users/resend_activation/", {"email": "bob+3@example.com"}).status_code == 429


def test_the_admins_form_for_a_new_password_is_no_way_to_guess_the_old_one(sign_in_limits):
    """T5, T11"""
    boss = make_user(is_staff=True, is_superuser=True)
    browser = Client()
    browser.force_login(boss)
    form = {"old_password": "wrong", "new_password1": "staple under the moon", "new_password2": "staple under the moon"}
    answers = [browser.post("/admin/password_change/", form).status_code for _time in range(4)]
    assert answers == [200] * 3 + [429]
