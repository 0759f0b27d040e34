"""Codes and referrals for tests. What a test is not about is filled in, and nothing at random."""

from datetime import UTC, datetime, timedelta
from itertools import count

from django.utils import timezone

from referrals import codes, services
from referrals.models import Referral, ReferralCode
from users.models import User
from users.tests.factories import PASSWORD, make_user

_numbers = count(1)


def make_code(
    owner: User | None = None, *, expires_at: datetime | None = None, wish: str | None = None
) -> ReferralCode:
    return services.issue_code(owner=owner or make_user(), expires_at=expires_at or tomorrow(), wish=wish)


def make_expired_code(
    owner: User | None = None, *, code: str | None = None, ended: timedelta = timedelta(hours=1)
) -> ReferralCode:
    """A code that ran out `ended` ago and that nobody has retired yet."""
    code = code or codes.generate()
    expires_at = timezone.now() - ended
    return ReferralCode.objects.create(
        owner=owner or make_user(),
        code=code,
        folded=codes.fold(code),
        created_at=expires_at - timedelta(days=1),
        expires_at=expires_at,
    )


def make_referral(code: ReferralCode | None = None, **fields) -> Referral:
    """Somebody who registered with `code`."""
    number = next(_numbers)
    made_up = {"email": f"referred{number}@example.com", "username": f"referred{number}", "password": PASSWORD}
    user = services.register(referral_code=(code or make_code()).code, **made_up | fields)
    return user.referral


def tomorrow() -> datetime:
    return timezone.now() + timedelta(days=1)


def utc(text: str) -> datetime:
    """A moment, from its ISO 8601 text without an offset."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
