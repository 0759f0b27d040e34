"""A program to try the service with: what people could have done in the last 90 days, made up out of a seed.

It is made in the order in which it would have happened, and written in batches. Of people and codes a few numbers each
are remembered, so memory hardly grows with them. No constraint is passed by.
"""

import json
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import accumulate, count
from math import cos, tau
from operator import itemgetter
from random import Random
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection, models, transaction
from django.db.models import Max
from django.utils import translation

from referrals import codes
from referrals.models import Click, ClickDay, LookupCount, Referral, ReferralCode
from users.mail import ActivationEmail, as_row
from users.models import AuditEvent, OutgoingEmail, User
from users.tasks import LONGEST_PAUSE, MOST_REFUSALS, TRY_FOR

DOMAIN = "demo.example"
"""Of all addresses here. No mail reaches it: RFC 2606 keeps it free."""

DAYS = 90
BATCH = 2_000  # people
WAITING, GIVEN_UP = 8, 12  # mails
FEWEST = 50  # people
STAFF, FIRST, BROUGHT, LATE = range(4)  # who register first: verified, and they never leave
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GROWTH = 1.015  # a day
BY_WEEKDAY = (1.1, 1.2, 1.2, 1.1, 1.0, 0.7, 0.6)
LASTS = (30, 60, 90, 180, 365)  # days
CHANNELS = ("", "", "", "", "newsletter", "telegram", "whatsapp", "poster")
SITES = ("", "", "t.me", "www.instagram.com", "www.reddit.com", "mail.google.com", "blog.example.org")
DEVICES = (*[Click.Device.PHONE] * 6, *[Click.Device.DESKTOP] * 3, Click.Device.TABLET)
GIVEN = """
    ada alma anton bela boris carla clara dana daria edgar elena emil erik esther fatima felix gala greta hanna hugo ida
    igor ines ivan jana jonas karin kira lars lena leo lydia marek maya mila mira nadia nina noah nora olga oscar otto
    paula pavel petra rita roman rosa ruth sara simon sofia stella tanya theo vera viktor yara zoe
""".split()
WORDS = """
    acorn amber anchor apple arrow aspen badger beacon birch breeze brook canyon cedar cloud clover comet copper coral
    delta ember falcon fern field finch forest garnet glade grove harbor hazel heron island ivory jasper juniper kite
    lantern lark maple marble meadow mint moss oak opal orchard otter pebble pine planet plum quartz reed river robin
    saffron sage spruce stone thistle thunder tulip valley violet walnut willow winter
""".split()

Kind = AuditEvent.Kind


class Table:
    """Rows of a model that wait to be written, each at the moment in one of their columns."""

    def __init__(self, model: type[models.Model], columns: str, moment: str = "") -> None:
        names = columns.split()
        self.name, self.width = model._meta.db_table, len(names)
        self.columns = ", ".join(map(connection.ops.quote_name, names))
        self.moment = itemgetter(names.index(moment)) if moment else None
        self.rows: list[tuple[Any, ...]] = []
        self.written = 0

    def write(self, until: datetime) -> None:
        """Write the rows whose moment has come; the others wait."""
        due = len(self.rows)
        if self.moment:
            self.rows.sort(key=self.moment)
            due = bisect_right(self.rows, until, key=self.moment)
        rows, self.rows = self.rows[:due], self.rows[due:]
        self.written += due
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY {self.name} ({self.columns}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            else:
                places = ", ".join(["%s"] * self.width)
                insert = f"INSERT INTO {self.name} ({self.columns}) VALUES ({places})"  # noqa: S608 (our own names)
                cursor.executemany(insert, [[_as_text(value) for value in row] for row in rows])


def _as_text(value: Any) -> Any:
    """A moment as Django writes it where the database knows none."""
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


def new_ids(model: type[models.Model], at_once: int) -> Iterator[int]:
    """Ids in rising order, each for who takes it: people may register meanwhile."""
    if connection.vendor != "postgresql":  # where a transaction keeps all others out
        yield from count((model._default_manager.aggregate(last=Max("pk"))["last"] or 0) + 1)
    while True:
        with connection.cursor() as cursor:
            taken = "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)"
            cursor.execute(taken, [model._meta.db_table, at_once])
            yield from (number for (number,) in cursor.fetchall())


@dataclass
class Outcome:
    """How many rows of which table there are now, and who can sign in: staff, and people with a word on each."""

    rows: dict[str, int]
    staff: str
    people: dict[str, str]


@transaction.atomic
def fill(
    *,
    users: int,
    referrals: int,
    seed: str,
    now: datetime,
    staff_password: str,
    password: str,
    progress: Callable[[int], None] = lambda made: None,
) -> Outcome:
    """Add `users` people, `referrals` of them brought by others, and all that comes with them: all of it or nothing.

    The same seed and moment make the same rows, but for passwords and the text of mails. The first person is staff.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # else PostgreSQL remembers each row until the commit
    program = Program(users, referrals, seed, now)
    for number, moment in enumerate(program.moments()):
        program.go_on(number, moment)
        if number % BATCH == BATCH - 1:
            program.write(moment)
            progress(number + 1)
    program.write(now)
    program.queue_mails_in_trouble()
    progress(users)
    return program.let_in(staff_password, password)


class Program:
    """Where the story is, and what is still to come. People are numbered as they register, codes as they begin."""

    def __init__(self, users: int, referrals: int, seed: str, now: datetime) -> None:
        self.there = User.objects.count()  # a second program beside the first has other names and codes
        self.seed, self.random = f"{seed} {self.there}", Random(f"{seed} {self.there}")  # noqa: S311 (no secrets)
        self.users, self.to_bring, self.now = users, referrals, now
        self.clicks_since = _since(now, settings.CLICK_RETENTION_DAYS)
        self.mails_since = _since(now, settings.MAIL_RETENTION_DAYS)
        self.no_password = make_password(None)
        self.subjects = {language: _subject(language) for language in ("en", "ru")}
        self.user_ids = new_ids(User, min(users, BATCH))
        self.code_ids = new_ids(ReferralCode, min(users // 10, BATCH))

        self.people = array("q")
        self.left: dict[int, tuple[datetime, bool]] = {}  # when, and whether for good
        self.codes_to_come: list[tuple[datetime, int, bool]] = []  # when, whose, and whether it is their first
        self.code, self.owner, self.brought = array("q"), array("q"), array("q")
        self.begins, self.ends = array("d"), array("d")
        self.spread = array("d")  # how well it and all before it are handed on
        self.sums: dict[date, dict[int, dict[str, int]]] = defaultdict(dict)
        self.in_trouble: dict[int, bool] = {}  # whose first mail did not go out, and whether it was given up

        # Each after those that it refers to.
        self.accounts = Table(
            User,
            "id email username password email_verified_at discoverable_by_email language registered_at closed_at "
            "is_active is_staff is_superuser token_version",
            "registered_at",
        )
        self.codes = Table(ReferralCode, "id owner_id code folded created_at expires_at retired_at", "created_at")
        self.referrals = Table(Referral, "referrer_id referred_id code_id created_at", "created_at")
        self.clicks = Table(Click, "code_id clicked_at channel site device visitor", "clicked_at")
        self.click_days = Table(ClickDay, "code_id day clicks quarters")
        self.lookups = Table(LookupCount, "owner_id lookups")
        self.events = Table(AuditEvent, "kind user_id actor_id client request_id detail created_at", "created_at")
        self.mails = Table(
            OutgoingEmail,
            "to reader_id subject message created_at next_try_at tries last_error sent_at",
            "created_at",
        )
        self.tables = [table for table in vars(self).values() if isinstance(table, Table)]

    def moments(self) -> Iterator[datetime]:
        """When people register: more from week to week, few at night and on Sundays."""
        start = self.now - timedelta(days=DAYS)
        weights = []
        for hour in range(DAYS * 24):
            at = start + hour * HOUR
            by_clock = 1.1 - cos(tau * (at.hour - 3) / 24)
            weights.append(GROWTH ** (hour / 24) * BY_WEEKDAY[at.weekday()] * by_clock * self.random.uniform(0.7, 1.3))
        there, total = 0, sum(weights)
        for hour, weight in enumerate(accumulate(weights)):
            by_then = round(self.users * weight / total)
            yield from sorted(start + (hour + self.random.random()) * HOUR for _person in range(there, by_then))
            there = by_then

    def go_on(self, number: int, at: datetime) -> None:
        """What happens until a person registers, and then."""
        while self.codes_to_come and self.codes_to_come[0][0] <= at:
            self.issue(*heappop(self.codes_to_come))
        self.register(number, at)
        if self.code:
            for _visit in range(self.random.randrange(4)):
                self.click(self.code_in_use(at), at + self.random.random() * HOUR / 6)
        if number and self.random.random() < 0.6:
            self.sign_in(self.random.randrange(number), at)

    def register(self, number: int, at: datetime) -> None:
        random, user, serial = self.random, next(self.user_ids), self.there + number + 1
        self.people.append(user)
        is_staff, is_certain = number == STAFF, number <= LATE
        waits = number >= self.users - WAITING
        given_up = not waits and number % max(8, self.users // GIVEN_UP) == 7 and at > self.mails_since

        closed_at = verified_at = None
        if not (is_certain or waits or given_up) and random.random() < 0.02:
            left_at, for_good = at + random.expovariate(1 / 20) * DAY, random.random() < 0.7
            if left_at < self.now:
                self.left[number], closed_at = (left_at, for_good), left_at if for_good else None
                self.note(Kind.ACCOUNT_CLOSED if for_good else Kind.BLOCKED, number, left_at)
        if is_certain or (random.random() < 0.9 and not waits and not given_up):
            verified_at = at + random.expovariate(8) * HOUR
            if verified_at < self.end_of(number):
                self.note(Kind.EMAIL_VERIFIED, number, verified_at)
            else:
                verified_at = None

        given, word = random.choice(GIVEN), random.choice(WORDS)
        username, email = f"{given}-{word}{serial}", f"{given}.{word}{serial}@{DOMAIN}"
        if is_staff:
            username, email = f"staff{serial}", f"staff{serial}@{DOMAIN}"
        language = "ru" if random.random() < 0.3 else "en"
        shown = (None, f"closed-{word}{serial}") if closed_at else (email, username)
        findable = not closed_at and random.random() < 0.9
        is_active = number not in self.left
        account = (user, *shown, self.no_password, verified_at, findable, language, at, closed_at)
        self.accounts.rows.append((*account, is_active, is_staff, is_staff, int(not is_active)))
        if waits or given_up:
            self.in_trouble[user] = given_up
        elif at > self.mails_since and not closed_at:
            sent_at = at + timedelta(seconds=random.uniform(1, 4))
            self.mails.rows.append((email, user, self.subjects[language], "{}", at, sent_at + TRY_FOR, 1, "", sent_at))

        chance = 0.0 if number == BROUGHT else random.random()
        if number > FIRST and chance * (self.users - number) < self.to_bring:
            self.refer(user, at)
        if number in (FIRST, LATE):  # there is a code to register with, and one that ran out
            heappush(self.codes_to_come, (at, number, True))
        elif verified_at and random.random() < 0.2 and not is_certain:
            heappush(self.codes_to_come, (verified_at + random.expovariate(1 / 2) * DAY, number, True))

    def issue(self, at: datetime, number: int, is_their_first: bool) -> None:
        """Somebody makes a code: their first, or another after the end of one."""
        random, owner, left_at = self.random, self.people[number], self.end_of(number)
        if at >= left_at:
            return
        days = {FIRST: LASTS[-1], LATE: LASTS[0]}.get(number) or random.choice(LASTS)
        expires_at = datetime.combine((at + days * DAY).date(), time.max, UTC)
        deleted_at = at + random.uniform(1, 40) * DAY
        is_deleted = deleted_at < min(expires_at, left_at) and number > LATE and random.random() < 0.2
        retired_at = deleted_at if is_deleted else None
        end = retired_at or expires_at
        again_at = end + random.expovariate(1 / 3) * DAY
        if again_at < left_at and number > LATE and random.random() < 0.5:
            retired_at = end
            heappush(self.codes_to_come, (again_at, number, False))
        if number in self.left:
            end = min(end, left_at)
            if self.left[number][1]:
                retired_at = end

        serial = self.there + len(self.code) + 1
        if random.random() < 0.2:
            code = f"{random.choice(WORDS)}-{serial}".upper()
        else:
            code = codes.grouped("".join(random.choice(codes.ALPHABET) for _letter in range(codes.LENGTH)))
        self.code.append(next(self.code_ids))
        self.owner.append(owner)
        self.brought.append(0)
        self.begins.append(at.timestamp())
        self.ends.append(end.timestamp())
        self.spread.append((self.spread[-1] if self.spread else 0.0) + random.paretovariate(1.4))
        self.codes.rows.append((self.code[-1], owner, code, codes.fold(code), at, expires_at, retired_at))
        if is_their_first and random.random() < 0.2:
            self.lookups.rows.append((owner, random.randint(1, 9)))

    def code_in_use(self, at: datetime) -> int:
        """One that can be used at this moment. Few of them are handed on to very many."""
        moment = at.timestamp()
        for _try in range(100):
            found = bisect_right(self.spread, self.random.random() * self.spread[-1])
            if moment < self.ends[found]:
                return found
        return 0

    def refer(self, user: int, at: datetime) -> None:
        found = self.code_in_use(at)
        self.to_bring -= 1
        self.brought[found] += 1
        self.referrals.rows.append((self.owner[found], user, self.code[found], at))
        if self.random.random() < 0.9:
            clicked_at = max(self.begins[found], at.timestamp() - self.random.random() * 1800)
            self.click(found, datetime.fromtimestamp(clicked_at, UTC))

    def click(self, found: int, at: datetime) -> None:
        if at >= self.now or at.timestamp() >= self.ends[found]:
            return
        random, code = self.random, self.code[found]
        quarters, quarter = self.sums[at.date()].setdefault(code, {}), str(at.hour * 4 + at.minute // 15)
        quarters[quarter] = quarters.get(quarter, 0) + 1
        if at > self.clicks_since:
            told = (random.choice(CHANNELS), random.choice(SITES), random.choice(DEVICES))
            self.clicks.rows.append((code, at, *told, f"{random.getrandbits(64):016x}"))

    def sign_in(self, number: int, at: datetime) -> None:
        if at >= self.end_of(number):
            return
        chance = self.random.random()
        if chance < 0.05:
            self.note(Kind.SIGN_IN_FAILED, number, at - timedelta(seconds=9))
        self.note(Kind.SIGNED_IN, number, at)
        if chance > 0.9:
            signed_out_at = at + self.random.expovariate(2) * HOUR
            if signed_out_at < self.end_of(number):
                self.note(Kind.SIGNED_OUT, number, signed_out_at)

    def end_of(self, number: int) -> datetime:
        """When somebody leaves, which need not have happened yet."""
        return self.left[number][0] if number in self.left else self.now

    def note(self, kind: AuditEvent.Kind, number: int, at: datetime) -> None:
        actor = self.people[STAFF] if kind == Kind.BLOCKED else None
        for_good = number in self.left and self.left[number][1]  # then their client was forgotten
        whose = 0 if actor else number
        client = "" if for_good and kind != Kind.ACCOUNT_CLOSED else self.digest(f"client {whose}")
        request = f"{self.random.getrandbits(128):032x}"
        self.events.rows.append((kind.value, self.people[number], actor, client, request, "{}", at))

    def digest(self, text: str) -> str:
        return blake2b(f"{self.seed} {text}".encode(), digest_size=16).hexdigest()

    def write(self, until: datetime) -> None:
        """Write all that has happened."""
        over = [day for day in self.sums if day < (until - HOUR).date() or until == self.now]
        for day in sorted(over):
            for code, quarters in self.sums.pop(day).items():
                self.click_days.rows.append((code, day, sum(quarters.values()), json.dumps(quarters)))
        for table in self.tables:
            table.write(until)

    def queue_mails_in_trouble(self) -> None:
        """The first mails of some: the mail server does not want them, or has been away for a while."""
        mails = []
        for user in User.objects.filter(pk__in=self.in_trouble).order_by("pk"):
            at = user.registered_at
            with translation.override(user.language):
                mail = _first_mail(user)
            row = as_row(mail)
            row.created_at = at
            if self.in_trouble[user.pk]:
                row.tries, row.last_error = MOST_REFUSALS, "SMTPRecipientsRefused 550"
                row.failed_at = row.next_try_at = at + timedelta(minutes=3)
            else:  # tried after one minute, two, four, ...
                minutes = (self.now - at).total_seconds() / 60
                row.tries, row.last_error = max(1, int(minutes).bit_length()), "ConnectionRefusedError"
                row.next_try_at = min(at + timedelta(minutes=2**row.tries), self.now + LONGEST_PAUSE)
            mails.append(row)
        self.mails.written += len(OutgoingEmail.objects.bulk_create(mails))

    def worth_a_look(self) -> dict[int, str]:
        """Somebody of each sort, by id, with a word on each."""
        usable = (n for n, end in enumerate(self.ends) if end > self.now.timestamp())
        best = max(usable, key=self.brought.__getitem__)
        words = {
            self.people[LATE]: "had a code that ran out",
            self.owner[best]: f"brought {self.brought[best]} people by one code",
        }
        if self.brought[best]:
            words[self.people[BROUGHT]] = "was brought by somebody"
        return words

    def let_in(self, staff_password: str, password: str) -> Outcome:
        """Give a password to staff and to those who are worth a look."""
        words = self.worth_a_look()
        people = {user.email or "": words[user.pk] for user in User.objects.filter(pk__in=words).order_by("pk")}
        User.objects.filter(pk__in=words).update(password=make_password(password))
        staff = User.objects.filter(pk=self.people[STAFF])
        staff.update(password=make_password(staff_password))
        rows = {table.name: table.written for table in self.tables}
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"ANALYZE {', '.join(rows)}")
        return Outcome(rows, staff.get().email or "", people)


def _since(now: datetime, days: int) -> datetime:
    """When what is kept for so many days begins; 0 are for ever."""
    return now - timedelta(days=days or DAYS + 1)


def _first_mail(user: User) -> ActivationEmail:
    mail = ActivationEmail(user)
    mail.to = [user.email]
    mail.render()
    return mail


def _subject(language: str) -> str:
    with translation.override(language):
        return str(_first_mail(User(pk=1, email=f"nobody@{DOMAIN}")).subject)
