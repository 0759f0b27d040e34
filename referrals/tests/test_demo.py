"""`manage.py demo`: a made-up program that could have happened, or nothing."""

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import Count, F, Min, Sum
from django.utils import timezone

from conftest import check_invariants
from referrals import demo, services
from referrals.management.commands.demo import Command
from referrals.models import Click, ClickDay, LookupCount, Referral, ReferralCode
from referrals.tests.factories import utc
from users.models import AuditEvent, OutgoingEmail, User
from users.retention import delete_what_is_over
from users.tasks import deliver_waiting_mail
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db

NOW = utc("2030-05-15T12:00")


def fill(users: int = 500, referrals: int = 350, seed: str = "demo", now=NOW) -> demo.Outcome:
    passwords = {"staff_password": "correct horse battery", "password": "staple under the moon"}
    return demo.fill(users=users, referrals=referrals, seed=seed, now=now, **passwords)


def run(**options) -> str:
    said = StringIO()
    call_command("demo", stdout=said, stderr=StringIO(), **options)
    return said.getvalue()


def rows() -> list[list[dict]]:
    """All there is, whatever the ids are, but for what is never the same: passwords, and links in mails."""
    codes_from = ReferralCode.objects.aggregate(first=Min("pk"))["first"] or 0
    people_from = User.objects.aggregate(first=Min("pk"))["first"] or 0

    def told(row: dict) -> dict:
        kept = {name: value for name, value in row.items() if name not in ("id", "password", "message")}
        first = {name: codes_from if name == "code_id" else people_from for name in kept if name.endswith("_id")}
        return kept | {name: kept[name] - first[name] for name in first if isinstance(kept[name], int)}

    tables = User, ReferralCode, Referral, Click, ClickDay, LookupCount, AuditEvent, OutgoingEmail
    return [[told(row) for row in table.objects.order_by("pk").values()] for table in tables]


def test_there_are_as_many_as_were_asked_for_of_each_state():
    made = fill(users=1500, referrals=900)
    assert made.rows["users_user"] == User.objects.count() == 1500
    assert made.rows["referrals_referral"] == Referral.objects.count() == 900
    assert made.rows["users_outgoingemail"] == OutgoingEmail.objects.count()
    assert User.objects.filter(is_staff=True).count() == 1
    assert User.objects.filter(closed_at=None, is_active=False).exists()
    assert User.objects.filter(closed_at__isnull=False).exists()
    assert ReferralCode.objects.active(NOW).count() > ReferralCode.objects.filter(retired_at__isnull=False).count() > 0
    assert ReferralCode.objects.filter(retired_at=None, expires_at__lt=NOW).exists()
    owners = ReferralCode.objects.values("owner").annotate(codes=Count("id"))
    assert owners.filter(codes__gt=1).exists()
    assert OutgoingEmail.objects.filter(sent_at=None, failed_at=None).count() == demo.WAITING
    assert OutgoingEmail.objects.filter(failed_at__isnull=False).exists()
    kinds = set(AuditEvent.objects.values_list("kind", flat=True))
    assert {"signed_in", "sign_in_failed", "signed_out", "email_verified", "blocked", "account_closed"} == kinds


@pytest.mark.parametrize(("users", "referrals"), [(demo.FEWEST, 0), (demo.FEWEST, demo.FEWEST - 2), (2100, 2098)])
def test_any_size_comes_out_to_the_number(users, referrals):
    fill(users, referrals)
    assert (User.objects.count(), Referral.objects.count()) == (users, referrals)


def test_every_row_is_one_that_the_service_would_have_written(settings):
    settings.CLICK_RETENTION_DAYS = 0  # all of them are looked at
    fill(users=2500, referrals=1700)
    for table in User, ReferralCode, Referral, Click, ClickDay, LookupCount, OutgoingEmail:
        for row in table.objects.all():
            left_empty = [name for name in ("email", "message", "quarters") if not getattr(row, name, True)]
            row.full_clean(exclude=left_empty, validate_unique=False, validate_constraints=False)  # the schema's
    span = NOW - timedelta(days=demo.DAYS), NOW
    for table, moment in (User, "registered_at"), (ReferralCode, "created_at"), (AuditEvent, "created_at"):
        moments = list(table.objects.order_by("pk").values_list(moment, flat=True))
        assert moments == sorted(moments)
        assert span[0] <= moments[0] <= moments[-1] <= span[1]
    assert not ReferralCode.objects.filter(retired_at__gt=NOW).exists()
    assert not ReferralCode.objects.filter(retired_at__gt=F("expires_at")).exists()
    assert not ReferralCode.objects.filter(created_at__lt=F("owner__registered_at")).exists()
    assert not ReferralCode.objects.filter(owner__closed_at__isnull=False, retired_at=None).exists()
    assert not Referral.objects.exclude(created_at=F("referred__registered_at")).exists()
    assert not Referral.objects.filter(created_at__lt=F("code__created_at")).exists()
    assert not Referral.objects.filter(created_at__gt=F("code__retired_at")).exists()
    assert not Click.objects.filter(clicked_at__lt=F("code__created_at")).exists()
    assert not Click.objects.filter(clicked_at__gt=F("code__retired_at")).exists()
    assert not AuditEvent.objects.filter(created_at__lt=F("user__registered_at") - timedelta(seconds=9)).exists()
    closed = User.objects.filter(closed_at__isnull=False)
    assert not closed.filter(email__isnull=False).exists()
    assert not AuditEvent.objects.filter(user__in=closed).exclude(client="").exclude(kind="account_closed").exists()
    assert not OutgoingEmail.objects.filter(reader__in=closed).exists()


@pytest.mark.parametrize("days", [30, 7, 0])
def test_clicks_are_rows_for_as_long_as_they_are_kept_and_sums_for_ever(settings, days):
    settings.CLICK_RETENTION_DAYS = days
    fill()
    kept = Click.objects.all()
    sums = ClickDay.objects.all()
    if days:
        begin = NOW - timedelta(days=days)
        assert not kept.filter(clicked_at__lte=begin).exists()
        kept, sums = kept.filter(clicked_at__date__gt=begin.date()), sums.filter(day__gt=begin.date())
    assert kept.count() == sums.aggregate(total=Sum("clicks"))["total"] > 100
    for day in sums:
        assert (
            day.clicks == sum(day.quarters.values()) == kept.filter(code=day.code_id, clicked_at__date=day.day).count()
        )
    assert ClickDay.objects.filter(day__lt=NOW - timedelta(days=60)).exists()


def test_the_program_grows_rests_at_weekends_and_lives_from_a_few():
    fill(users=5000, referrals=3500)
    by_week = [
        User.objects.filter(registered_at__range=(NOW - timedelta(days=end + 7), NOW - timedelta(days=end))).count()
        for end in (0, 77)
    ]
    assert by_week[0] > 2 * by_week[1]
    by_day = dict(User.objects.values_list("registered_at__week_day").annotate(Count("id")))
    assert by_day[1] < 0.8 * by_day[3]  # Sunday, Tuesday
    brought = sorted(Referral.objects.values_list("referrer").annotate(n=Count("id")).values_list("n", flat=True))
    assert sum(brought[-len(brought) // 10 :]) > 0.35 * 3500
    assert brought[-1] < 0.3 * 3500


def test_the_same_seed_and_moment_make_the_same_rows_and_another_seed_others():
    made = []
    for seed in "one", "one", "two":
        with transaction.atomic():
            fill(seed=seed)
            made.append(rows())
            transaction.set_rollback(True)
    one, again, two = made
    assert one == again
    assert all(table and table != other for table, other in zip(one, two, strict=True))


def test_nothing_of_it_is_due_or_over_by_now():
    fill(now=timezone.now())
    assert deliver_waiting_mail() == 0
    deleted = delete_what_is_over()
    assert {deleted[name] for name in ("mails", "events", "clicks")} == {0}


def test_mail_that_waits_goes_out_in_its_time(mailbox):
    fill(now=timezone.now())
    OutgoingEmail.objects.filter(sent_at=None, failed_at=None).update(next_try_at=timezone.now())
    sent = mailbox()
    assert len(sent) == demo.WAITING
    assert all("/account/activate/" in mail.body for mail in sent)


def test_those_who_are_named_sign_in_and_life_goes_on(api, client):
    said = run()
    staff, staff_password = re.search(r"(\S+@demo\.example)  (\S+)\n", said).groups()
    password = re.search(r"with the password (\S+):", said).group(1)
    people = re.findall(r"(\S+@demo\.example)  (?:was|had|brought)", said)
    assert len(people) == 3
    assert client.login(username=staff, password=staff_password)
    assert client.get("/admin/").status_code == 200
    for email in people:
        signed_in = api.post("/auth/jwt/create/", {"email": email, "password": password})
        assert signed_in.status_code == 200, email
    everybody_else = User.objects.exclude(email__in=[staff, *people])
    assert not [user for user in everybody_else if user.has_usable_password()]
    best = User.objects.get(email=next(email for email in people if f"{email}  brought" in said))
    code = ReferralCode.objects.usable().get(owner=best)
    new = services.register(email="new@example.com", password=password, username="new", referral_code=code.code)
    assert new.referral.referrer == best
    assert services.issue_code(owner=new, expires_at=NOW).owner == new


@pytest.mark.parametrize(
    ("users", "referrals", "named"),
    [(500, 350, 3), (demo.FEWEST, demo.FEWEST - 2, 3), (demo.FEWEST, 1, 3), (demo.FEWEST, 0, 2)],
)
def test_as_many_as_the_documents_say_are_named_at_every_hour_of_the_week(users, referrals, named):
    for hour in range(7 * 24):
        now = NOW + timedelta(hours=hour)
        program = demo.Program(users, referrals, f"another each time {hour}", now)
        for number, moment in enumerate(program.moments()):
            program.go_on(number, moment)
        assert len(program.worth_a_look()) == named, now
        brought = {referred for _referrer, referred, *_how in program.referrals.rows}
        assert (program.people[demo.BROUGHT] in brought) == (referrals > 0)
        [late] = [row for row in program.codes.rows if row[1] == program.people[demo.LATE]]
        *_others, expires_at, retired_at = late
        assert expires_at < now
        assert retired_at is None  # neither deleted nor followed by another


@pytest.mark.parametrize("users", [demo.FEWEST, 500])
def test_people_register_from_the_first_weeks_on_however_few_they_are(users):
    moments = list(demo.Program(users, 0, "demo", NOW).moments())
    assert len(moments) == users
    assert moments == sorted(moments)
    assert moments[demo.LATE] < NOW - timedelta(days=demo.DAYS - 14)


def test_no_two_runs_have_a_password_in_common():
    passwords = [re.findall(r"(?m)(?:  |password )([\w-]{16}):?$", run()) for _run in range(2)]
    assert len({*passwords[0], *passwords[1]}) == 4
    assert User.objects.count() == 1000  # a second program goes beside the first


def test_it_leaves_people_alone_unless_it_is_forced():
    make_user(email="ada@example.com")
    with pytest.raises(CommandError, match="holds 1 people who are not the demo's"):
        run()
    assert User.objects.count() == 1
    run(force=True)
    assert User.objects.count() == 501
    check_invariants()


@pytest.mark.parametrize(
    "sizes", [{"users": demo.FEWEST - 1}, {"users": 100, "referrals": 99}, {"users": 100, "referrals": -1}]
)
def test_sizes_that_cannot_be_are_refused(sizes):
    with pytest.raises(CommandError, match="--users"):
        run(**sizes)


def test_who_interrupts_it_has_the_database_as_it_was(monkeypatch):
    def interrupt(_made: int) -> None:
        assert User.objects.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "BATCH", 100)
    monkeypatch.setattr(Command, "show", lambda _self, made, _users: interrupt(made))
    with pytest.raises(CommandError, match="Nothing of it was kept") as error:
        run()
    assert error.value.returncode == 130
    assert not any(rows())


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, StringIO])
def test_a_bar_is_drawn_where_somebody_looks(stream, monkeypatch):
    monkeypatch.setattr(demo, "BATCH", 100)
    drawn = stream()
    call_command(Command(stdout=StringIO(), stderr=drawn, force_color=True))
    if stream is StringIO:
        assert not drawn.getvalue()
    else:
        first, *_others, last = drawn.getvalue().split("\r")[1:]
        assert first == "[########" + "-" * 32 + "] 100 of 500 people"
        assert last == "[" + "#" * 40 + "] 500 of 500 people\n"
