"""The refusals and rules that the API alone cannot show."""

from datetime import timedelta
from unittest.mock import patch

import pytest
from django.utils import timezone

from referrals import codes, services
from referrals.errors import ActiveCodeExists, CodeTaken, EndsTooSoon, InvalidCode, NoActiveCode
from referrals.models import Referral, ReferralCode
from referrals.signals import referral_created
from referrals.tests.factories import make_code, make_expired_code, make_referral, tomorrow
from users.errors import EmailTaken, UsernameTaken
from users.models import OutgoingEmail, User
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db


def test_a_second_code_is_refused_while_the_first_runs():
    owner = make_code().owner
    with pytest.raises(ActiveCodeExists):
        make_code(owner)
    assert ReferralCode.objects.filter(owner=owner).count() == 1


def test_a_code_that_is_over_by_the_clock_of_the_database_is_refused():
    """F12: ours may be behind it."""
    with pytest.raises(EndsTooSoon):
        make_code(expires_at=timezone.now() - timedelta(minutes=1))
    assert not ReferralCode.objects.exists()


def test_an_expired_code_makes_room_and_stays_as_a_retired_row():
    old = make_expired_code()
    new = make_code(old.owner)
    old.refresh_from_db()
    assert old.retired_at == old.expires_at
    assert ReferralCode.objects.usable().get() == new


def test_a_deleted_code_stays_as_a_retired_row_with_its_referrals():
    referral = make_referral()
    services.retire_code(referral.referrer)
    assert Referral.objects.get().code.retired_at is not None
    with pytest.raises(NoActiveCode):
        services.retire_code(referral.referrer)


def test_an_expired_code_cannot_be_deleted_again():
    with pytest.raises(NoActiveCode):
        services.retire_code(make_expired_code().owner)


@pytest.mark.parametrize("spelling", ["SUMMER-10", "summer10", "SUMMER-1O", "S-U-M-M-E-R-1-0"])
def test_a_chosen_code_that_somebody_has_is_taken_in_every_spelling(spelling):
    make_code(wish="SUMMER-10")
    with pytest.raises(CodeTaken):
        make_code(wish=codes.choose(spelling))


@pytest.mark.parametrize(("ended", "taken"), [(timedelta(days=364), True), (timedelta(days=366), False)])
@pytest.mark.parametrize("retired", [True, False])
def test_a_chosen_code_is_held_back_for_a_year_after_its_end(ended, taken, retired):
    """R9: whether its owner deleted it or it ran out and nobody has touched it since."""
    old = make_expired_code(code="SUMMER", ended=ended)
    if retired:
        ReferralCode.objects.update(retired_at=old.expires_at)
    if taken:
        with pytest.raises(CodeTaken):
            make_code(wish="SUMMER")
    else:
        make_code(wish="SUMMER")
        old.refresh_from_db()
        assert old.retired_at == old.expires_at


def test_a_code_deleted_long_before_its_end_is_held_back_from_its_deletion_on():
    old = make_code(wish="SUMMER", expires_at=timezone.now() + timedelta(days=1000))
    services.retire_code(old.owner)
    with pytest.raises(CodeTaken):
        make_code(wish="SUMMER")
    ReferralCode.objects.update(retired_at=timezone.now() - timedelta(days=366))
    ReferralCode.objects.update(created_at=timezone.now() - timedelta(days=400))
    assert make_code(wish="SUMMER").code == "SUMMER"


def test_its_own_former_owner_gets_a_chosen_code_back_at_once():
    old = make_code(wish="SUMMER")
    services.retire_code(old.owner)
    assert make_code(old.owner, wish="SUMMER").pk != old.pk


def test_a_generated_code_that_was_there_before_is_made_again():
    """R8"""
    first = make_code()
    services.retire_code(first.owner)
    with patch("referrals.codes.generate", side_effect=[first.code, "AAAA-BBBB-CCCC"]):
        assert make_code().code == "AAAA-BBBB-CCCC"


def test_a_code_that_another_takes_at_the_last_moment_is_taken():
    """The look found it free, and the constraint had the last word."""
    make_code(wish="SUMMER")
    with patch("referrals.services._release"), pytest.raises(CodeTaken):
        make_code(wish="SUMMER")


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"email": "TAKEN@example.com"}, EmailTaken),
        ({"username": "Taken"}, UsernameTaken),
        ({"referral_code": "UNKNOWN"}, InvalidCode),
    ],
)
def test_a_refused_registration_leaves_nothing_behind(fields, refusal):
    make_user(email="taken@example.com", username="taken")
    code = make_code()
    before = User.objects.count()
    made_up = {"email": "new@example.com", "password": PASSWORD, "referral_code": code.code}
    with pytest.raises(refusal):
        services.register(**made_up | fields)
    assert User.objects.count() == before
    assert not Referral.objects.exists()
    assert not OutgoingEmail.objects.exists()


def test_a_code_that_runs_out_during_the_registration_leaves_no_user():
    """C8: the insert is later than the code's end by the clock of the database."""
    code = make_code()
    late = make_expired_code(owner=make_user(), code="LATE-CODE")
    with patch("referrals.services._lock_code", return_value=late), pytest.raises(InvalidCode):
        services.register(email="new@example.com", password=PASSWORD, referral_code=code.code)
    assert not User.objects.filter(email="new@example.com").exists()


def test_news_of_a_referral_is_sent_inside_its_transaction():
    heard = []

    def listen(referral, **kwargs):
        heard.append(referral)
        raise RuntimeError

    referral_created.connect(listen)
    try:
        with pytest.raises(RuntimeError):
            make_referral()
    finally:
        referral_created.disconnect(listen)
    assert len(heard) == 1
    assert not Referral.objects.exists()


def test_closing_a_referrers_account_ends_the_code_and_keeps_the_referral():
    """C10"""
    from users.services import close_account

    referral = make_referral()
    close_account(referral.referrer)
    assert not ReferralCode.objects.filter(retired_at=None).exists()
    assert Referral.objects.get().referrer.username.startswith("closed-")


def test_closing_an_account_leaves_the_date_of_an_expired_code_as_it_was():
    from users.services import close_account

    code = make_expired_code()
    close_account(code.owner)
    code.refresh_from_db()
    assert code.retired_at == code.expires_at


def test_the_code_ends_by_the_moment_that_was_asked_for():
    expires_at = tomorrow()
    assert make_code(expires_at=expires_at).expires_at == expires_at
