"""What the database itself does not let happen, and the queries that look at codes."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from referrals.models import Referral, ReferralCode
from referrals.tests.factories import make_code, make_expired_code, make_referral, tomorrow, utc
from users.models import User
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db


def refused_by(constraint: str, act) -> bool:
    """Whether the database refuses `act`; SQLite names the columns of a unique index, PostgreSQL the index."""
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        act()
    return any(name in str(error.value) for name in constraint.split("|"))


def new_code(**fields):
    made_up = {"code": "SPRING", "folded": "SPR1NG", "expires_at": tomorrow()}
    return ReferralCode.objects.create(**made_up | fields)


def test_an_owner_has_one_current_code_and_any_number_of_retired_ones():
    """C2"""
    owner = make_user()
    new_code(owner=owner, folded="A", retired_at=timezone.now())
    new_code(owner=owner, folded="B", retired_at=timezone.now())
    new_code(owner=owner, folded="C")
    assert refused_by("one_current_per_owner|referralcode.owner_id", lambda: new_code(owner=owner, folded="D"))


def test_two_current_codes_never_fold_to_the_same():
    new_code(owner=make_user())
    assert refused_by("current_folded_unique|referralcode.folded", lambda: new_code(owner=make_user(), code="SPR1NG"))


def test_a_code_ends_after_it_began():
    owner = make_user()
    assert refused_by(
        "referrals_code_expires_after_creation",
        lambda: new_code(owner=owner, created_at=utc("2030-01-01T00:00:00"), expires_at=utc("2030-01-01T00:00:00")),
    )


def test_nobody_is_referred_twice():
    """C4"""
    other, referral = make_code(), make_referral()
    assert refused_by(
        "referred_id", lambda: Referral.objects.create(referrer=other.owner, referred=referral.referred, code=other)
    )


def test_nobody_is_referred_by_themselves_or_by_who_came_later():
    """R1, R2, C11: every referral points to an older account, so that no chain of them ever closes."""
    older, code = make_user(), make_code()
    for referred in (code.owner, older):
        assert refused_by(
            "referrals_referral_referrer_is_older",
            lambda referred=referred: Referral.objects.create(referrer=code.owner, referred=referred, code=code),
        )


@pytest.mark.parametrize("model", [User, ReferralCode])
def test_what_a_referral_rests_on_cannot_be_deleted(model):
    make_referral()
    with pytest.raises(IntegrityError):
        model.objects.all().delete()


def test_a_codes_own_word_and_the_query_agree_at_the_very_second_of_the_edge():
    code = make_code()
    for at, usable in [
        (code.expires_at - timedelta(microseconds=1), True),
        (code.expires_at, False),
        (code.expires_at + timedelta(microseconds=1), False),
    ]:
        assert code.is_usable(at) is usable
        assert ReferralCode.objects.usable(at).exists() is usable


@pytest.mark.parametrize("end", ["retire", "block"])
def test_a_retired_code_and_one_of_a_blocked_owner_are_not_usable(end):
    code = make_code()
    if end == "retire":
        code.retired_at = timezone.now()
        code.save(update_fields=["retired_at"])
    else:
        code.owner.is_active = False
        code.owner.save(update_fields=["is_active"])
    assert not code.is_usable()
    assert not ReferralCode.objects.usable().exists()


def test_expired_means_expired_by_the_clock_of_the_database():
    """F12"""
    make_expired_code(ended=timedelta(milliseconds=50))
    assert not ReferralCode.objects.usable().exists()
    assert not ReferralCode.objects.active().exists()
