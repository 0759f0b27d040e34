"""Every write that locks, spans rows or announces something."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, QuerySet
from django.db.models.functions import Least, Now
from django.utils import timezone

from config.api import metrics, replica
from config.api.compiled import ID, CompiledQuery, CompiledUpdate
from referrals import cache, codes
from referrals.cache import PublicCode
from referrals.emails import ReferralCodeEmail, send_code
from referrals.errors import (
    ActiveCodeExists,
    AlreadyReferred,
    ClaimWindowClosed,
    CodeTaken,
    EndsTooSoon,
    InvalidCode,
    NoActiveCode,
)
from referrals.models import Click, ClickDay, LookupCount, Referral, ReferralCode, ReferralCodeQuerySet, find_code_of
from referrals.signals import referral_created
from users import audit, limits
from users.deadlocks import again_after_deadlock
from users.mail import queue_for_whoever_has
from users.models import AuditEvent, User
from users.services import lock_account, open_account, prepare_account

HELD_BACK_FOR = timedelta(days=365)
"""How long nobody else can choose a code after its end."""

AGAIN_AFTER = timedelta(minutes=30)
"""How long a visitor's clicks on one link are one."""

CLICKS_KEPT_A_DAY = 10_000
"""Of one code."""


_IN_THE_WAY = CompiledQuery[User](
    lambda owner, folded: User.objects.filter(pk=owner).values_list(
        Exists(ReferralCode.objects.active().filter(owner=owner)),
        Exists(ReferralCode.objects.filter(owner=owner, retired_at=None)),
        Exists(ReferralCode.objects.filter(folded=folded)),
    ),
    ID,
    "CODE",
)
_ACTIVE_LOCKED = CompiledQuery[ReferralCode](
    lambda owner: (
        ReferralCode.objects.active().filter(owner=owner).select_for_update(no_key=True).values_list("folded")
    ),
    ID,
)
_USABLE_LOCKED = CompiledQuery[ReferralCode](
    lambda folded: ReferralCode.objects.usable().filter(folded=folded).select_for_update(no_key=True, of=("self",)),
    "CODE",
)
_RETIREMENT = CompiledUpdate(
    lambda owner: (ReferralCode.objects.active().filter(owner=owner), {"retired_at": Now()}), ID
)


@transaction.atomic
def issue_code(*, owner: User, expires_at: datetime, wish: str | None = None) -> ReferralCode:
    """Give `owner` a new code, `wish` if they chose one; an expired one is retired first.

    Raises ActiveCodeExists while a code of theirs still runs, CodeTaken where the wish is, or lately was, another's,
    EndsTooSoon where it is over by the database's clock, InvalidToken where the account was closed meanwhile.
    """
    lock_account(owner)
    code = wish or codes.generate()
    folded = codes.fold(code)
    [[has_active, has_current, was_there]] = _IN_THE_WAY.rows(owner.pk, folded)
    if has_active:
        raise ActiveCodeExists
    if has_current:
        ReferralCode.objects.filter(owner=owner, retired_at=None).update(retired_at=F("expires_at"))
    if wish:
        _release(folded, owner)
    elif was_there:
        return issue_code(owner=owner, expires_at=expires_at)  # with another
    try:
        return ReferralCode(owner=owner, code=code, folded=folded, expires_at=expires_at).insert()
    except IntegrityError as error:
        said = str(error).partition("\n")[0]
        if "folded" in said:  # the constraint: somebody was a moment faster
            raise CodeTaken from None
        if "expires_after_creation" in said:  # by the database's clock, which ours may be behind
            raise EndsTooSoon from None
        raise


def _release(folded: str, owner: User) -> None:
    """Make room for a chosen code. Raises CodeTaken where others hold it, or held it within the last year."""
    others = ReferralCode.objects.exclude(owner=owner)
    if others.holding(folded, since=timezone.now() - HELD_BACK_FOR).exists():
        raise CodeTaken
    others.filter(folded=folded, retired_at=None).update(retired_at=F("expires_at"))


@transaction.atomic
def retire_code(owner: User) -> None:
    """Delete the owner's active code, which is to say, end it now. Raises NoActiveCode, also for the second of two."""
    locked = _ACTIVE_LOCKED.rows(owner.pk)  # so that the moment of its end comes after any registration in progress
    if not locked or not _RETIREMENT.run(owner.pk):
        raise NoActiveCode
    [[folded]] = locked
    cache.drop(folded)


def register(*, email: str, password: str, username: str | None = None, referral_code: str | None = None) -> User:
    """Make an account and, with a code, the referral that belongs to it: both or neither.

    Raises InvalidCode, EmailTaken, UsernameTaken.
    """
    return join(prepare_account(email=email, password=password, username=username), referral_code)


@again_after_deadlock
@transaction.atomic
def join(user: User, referral_code: str | None = None) -> User:
    """Store a prepared account and the referral that belongs to it. Raises what `register` does.

    Preparing it is slow where there is a password to hash, and so is over when the code gets locked here.
    """
    code = _lock_code(referral_code) if referral_code is not None else None
    open_account(user)
    if code:
        _refer(user, code)
    return user


@transaction.atomic
def claim(user: User, referral_code: str) -> Referral:
    """Make someone who signed up without a code a referral of whoever the code belongs to, soon after.

    Raises AlreadyReferred, ClaimWindowClosed, and InvalidCode, also for one's own code and for that of somebody who
    registered later: they brought nobody who was there before them.
    """
    user = lock_account(user)
    if Referral.objects.filter(referred=user).exists():
        raise AlreadyReferred
    if timezone.now() > user.registered_at + timedelta(hours=settings.CLAIM_WINDOW_HOURS):
        raise ClaimWindowClosed
    code = _lock_code(referral_code)
    if code.owner_id >= user.pk:
        raise InvalidCode
    return _refer(user, code)


def _lock_code(typed: str) -> ReferralCode:
    """A usable code that stays undeleted until the end of the transaction. Raises InvalidCode."""
    for code in _USABLE_LOCKED.objects(codes.read(typed) or ""):
        return code
    raise InvalidCode


def _refer(user: User, code: ReferralCode) -> Referral:
    referral = Referral(referrer_id=code.owner_id, referred=user, code=code).insert()
    if referral.created_at >= code.expires_at:  # it ran out while we waited; both times are the database's
        raise InvalidCode
    transaction.on_commit(metrics.REFERRALS.inc)
    referral_created.send(Referral, referral=referral)
    return referral


def check_code(typed: str, *, to_show: bool = False, good_ones_count: bool = False) -> PublicCode | None:
    """The code that somebody typed, if others may use it now. Raises LimitReached when there were too many checks.

    What is asked for only `to_show` it may be a minute old. A good code on the way to a sign-up is no check; with
    `good_ones_count` it is.
    """
    check = limits.code_check()
    folded = codes.read(typed) or ""
    found = cache.find(folded) if to_show else cache.read(folded)
    if found is None:
        limits.count_code_miss()
    elif not good_ones_count:
        check.refund()
    return found


@transaction.atomic
def count_clicks(clicks: Iterable[Click]) -> int:
    """Count clicks, and tell how many did: one per visitor, code and half hour from the last one that did.

    Of a code and a day so many are kept as rows; those after them only add to the sum of the day, so that no flood
    fills the table. The rows of the sums are locked first, in one order: what is said here holds for any number of
    writers.
    """
    clicks = sorted(clicks, key=attrgetter("clicked_at"))
    wanted = sorted({(click.code_id, click.clicked_at.date()) for click in clicks})
    ClickDay.objects.bulk_create([ClickDay(code_id=code, day=day) for code, day in wanted], ignore_conflicts=True)
    days = ClickDay.objects.filter(code__in={code for code, _day in wanted}, day__in={day for _code, day in wanted})
    sums = {(day.code_id, day.day): day for day in days.order_by("code_id", "day").select_for_update(no_key=True)}
    recent = Click.objects.filter(
        code__in={click.code_id for click in clicks},
        visitor__in={click.visitor for click in clicks},
        clicked_at__gt=clicks[0].clicked_at - AGAIN_AFTER,
    )
    last = {
        (code, visitor): at
        for code, visitor, at in recent.order_by("clicked_at").values_list("code_id", "visitor", "clicked_at")
    }
    counted, kept = 0, []
    for click in clicks:
        before = last.get((click.code_id, click.visitor))
        if before and abs(click.clicked_at - before) < AGAIN_AFTER:
            continue
        last[click.code_id, click.visitor] = click.clicked_at
        day = sums[click.code_id, click.clicked_at.date()]
        if day.clicks < CLICKS_KEPT_A_DAY:
            kept.append(click)
        day.add(click.clicked_at)
        counted += 1
    Click.objects.bulk_create(kept)
    ClickDay.objects.bulk_update(sums.values(), ["clicks", "quarters"])
    return counted


def clicks_that_are_over() -> QuerySet[Click]:
    over = Click.objects.filter(clicked_at__lt=timezone.now() - timedelta(days=settings.CLICK_RETENTION_DAYS))
    return over.order_by("clicked_at") if settings.CLICK_RETENTION_DAYS else over.none()


_LOOKED_UP = CompiledUpdate(lambda owner: (LookupCount.objects.filter(pk=owner), {"lookups": F("lookups") + 1}), ID)


def look_up(email: str, by: User) -> ReferralCode:
    """The code of the referrer with this address, counted for `by` and told to them.

    Raises NoActiveCode, the same for who is unknown, has no code or does not want to be found, and LimitReached.
    """
    limits.count_lookup(by)
    code = replica.read(partial(find_code_of, email), by=by.pk)
    if code is None:
        raise NoActiveCode
    if not _LOOKED_UP.run(code.owner_id):
        LookupCount.objects.bulk_create([LookupCount(pk=code.owner_id)], ignore_conflicts=True)
        _LOOKED_UP.run(code.owner_id)
    return code


def mail_own_code(user: User) -> None:
    """Mail the user's active code to their own address. Raises NoActiveCode, LimitReached."""
    code = ReferralCode.objects.active().filter(owner=user).first()
    if code is None:
        raise NoActiveCode
    limits.count_mail(to=user.email or "")
    ReferralCodeEmail(user, code).queue()


def mail_code_of(email: str, asked_by: User) -> None:
    """Mail the active code of whoever has this address to that very address, saying who asked.

    Nothing happens, and nothing is said, where there is no such person or code, or where they do not want to be found.
    Raises LimitReached.
    """
    limits.count_mail(to=email)
    queue_for_whoever_has(email, send_code, asked_by=asked_by.pk)


def retire_any_code(owner: User) -> None:
    """End the owner's code if they have one; one that ran out counts as ended then."""
    _retire(ReferralCode.objects.filter(owner=owner, retired_at=None))


@transaction.atomic
def retire_codes(chosen: Iterable[ReferralCode], by: User) -> int:
    """End those of the codes that are not retired yet, for staff, and tell how many these were."""
    retired = 0
    for code in sorted(chosen, key=attrgetter("pk")):  # locked in one order
        if _retire(ReferralCode.objects.filter(pk=code.pk, retired_at=None)):
            audit.record(AuditEvent.Kind.CODE_RETIRED, code.owner_id, by=by, code=code.code)
            retired += 1
    return retired


def _retire(current: ReferralCodeQuerySet) -> bool:
    code = current.select_for_update(no_key=True).first()  # see `retire_code`
    if code is None:
        return False
    cache.drop(code.folded)
    return current.update(retired_at=Least(F("expires_at"), Now())) == 1


def drop_any_code(owner: User) -> None:
    """Have look-ups ask anew for the owner's code, if they have one. Nobody gives them one before the commit."""
    for folded in ReferralCode.objects.filter(owner=owner, retired_at=None).values_list("folded", flat=True):
        cache.drop(folded)
