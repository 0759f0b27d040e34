"""Limits: how often, how long to wait, and that a limit tells nothing of its own."""

import pytest

from users import limits
from users.errors import MailLimitReached
from users.limits import count_mail, hit
from users.models import OutgoingEmail, Usage
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = 60, 3600, 86400
NOON = 1_900_000_000 // DAY * DAY + DAY // 2


class Clock:
    def __init__(self) -> None:
        self.now = float(NOON)

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The time as limits see it; it stands still until a test moves it."""
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock


def test_as_many_pass_as_the_limit_says_and_the_rest_wait_for_the_end_of_the_span(clock):
    """T1, T7"""
    clock.now = NOON + 10.9
    assert [hit("mail", "bob", [(3, MINUTE)]) for _time in range(5)] == [0, 0, 0, 50, 50]
    assert Usage.objects.get().count == 3


def test_who_waits_as_long_as_told_may_go_on(clock):
    """T7"""
    assert hit("mail", "bob", [(1, HOUR)]) == 0
    clock.now += 1234.5
    wait = hit("mail", "bob", [(1, HOUR)])
    clock.now += wait - 1
    assert hit("mail", "bob", [(1, HOUR)]) == 1
    clock.now += 1
    assert hit("mail", "bob", [(1, HOUR)]) == 0


def test_of_several_limits_each_holds(clock):
    """T6"""
    both = [(2, HOUR), (3, DAY)]
    assert [hit("mail", "bob", both) for _time in range(3)] == [0, 0, HOUR]
    clock.now += HOUR
    assert [hit("mail", "bob", both) for _time in range(2)] == [0, DAY // 2 - HOUR]


def test_subjects_and_names_are_counted_apart(clock):
    uses = [("mail", "bob"), ("mail", "eve"), ("codes", "bob")]
    assert [hit(name, subject, [(1, HOUR)]) for name, subject in uses * 2] == [0, 0, 0, HOUR, HOUR, HOUR]


def test_no_limit_counts_nothing(clock):
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
        with pytest.raises(MailLimitReached) as refusal:
            count_mail(to=address)
        assert refusal.value.wait == HOUR
    else:
        count_mail(to=address)


def test_one_who_asks_is_counted_whoever_the_mail_is_for(settings, clock):
    """T6"""
    settings.THROTTLE_MAIL_SENDER = [(2, HOUR)]
    busy, other = make_user(), make_user()
    for number in range(2):
        count_mail(to=f"friend{number}@example.com", sender=busy)
    with pytest.raises(MailLimitReached):
        count_mail(to="friend3@example.com", sender=busy)
    count_mail(to="friend3@example.com", sender=other)
    count_mail(to="friend3@example.com")


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
    sender, known = make_user(), make_user(email="known@example.com")
    answers = {}
    for address in (known.email, "unknown@example.com"):
        statuses = [ask(api, as_user, call, address, sender).status_code for _time in range(2)]
        mails = OutgoingEmail.objects.count()
        response = ask(api, as_user, call, address.upper(), sender)
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


@pytest.mark.parametrize("call", CALLS)
def test_a_limit_of_zero_is_none(api, as_user, settings, call):
    settings.THROTTLE_MAIL_MAILBOX = settings.THROTTLE_MAIL_SENDER = []
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
