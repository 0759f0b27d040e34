"""What happens to one code from two sides at once; see `users/tests/test_races.py` for how it is shown."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from config.tests.at_once import (
    database_for_threads,
    hashing_held_up,
    on_own_connection,
    transaction_in_progress,
)
from conftest import check_invariants
from referrals import services
from referrals.errors import ActiveCodeExists, AlreadyReferred, CodeTaken, InvalidCode, NoActiveCode
from referrals.models import Click, ClickDay, Referral, ReferralCode
from referrals.tests.factories import PASSWORD, make_code, tomorrow
from users.errors import EmailTaken, InvalidToken
from users.models import User
from users.services import close_account
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)

LINUS = {"email": "linus@example.com", "password": PASSWORD, "username": "linus"}
SLOW_PASSWORD = "a password that takes its time"


@pytest.fixture(autouse=True)
def _database_for_threads(transactional_db, tmp_path):
    with database_for_threads(tmp_path):
        yield
        check_invariants()


def test_issue_code_waits_for_another_issue_to_the_same_owner_and_refuses_after_it():
    """C2"""
    owner = make_user()
    with transaction_in_progress() as start:
        code = services.issue_code(owner=owner, expires_at=tomorrow())
        late = start(services.issue_code, owner=owner, expires_at=tomorrow())
    with pytest.raises(ActiveCodeExists):
        late.result()
    assert ReferralCode.objects.get() == code


def test_issue_code_waits_for_a_deletion_and_gives_a_new_code_after_it():
    """C3"""
    code = make_code()
    with transaction_in_progress() as start:
        User.objects.select_for_update(no_key=True).get(pk=code.owner_id)
        services.retire_code(code.owner)
        late = start(services.issue_code, owner=code.owner, expires_at=tomorrow())
    assert late.result() == ReferralCode.objects.get(retired_at=None)


def test_a_writer_of_clicks_waits_for_another_before_it_looks_who_counted():
    """R11: the other one here has the sum of the day, and is about to write."""
    code, now = make_code(), timezone.now()

    def click(visitor: str) -> Click:
        return Click(code=code, clicked_at=now, device="phone", visitor=visitor)

    services.count_clicks([click("first")])
    with transaction_in_progress() as start:
        ClickDay.objects.select_for_update(no_key=True).get()
        late = start(services.count_clicks, [click("second"), click("third")])
        assert services.count_clicks([click("second")]) == 1
    assert late.result() == 1
    assert Click.objects.count() == ClickDay.objects.get().clicks == 3


def test_of_two_who_choose_one_code_at_once_one_is_refused():
    one, other = make_user(), make_user()
    with transaction_in_progress() as start:
        services.issue_code(owner=one, expires_at=tomorrow(), wish="ADA-2030")
        late = start(services.issue_code, owner=other, expires_at=tomorrow(), wish="ada2o3o".upper())
    with pytest.raises(CodeTaken):
        late.result()


def test_of_two_deletions_of_one_code_at_once_one_is_refused():
    code = make_code()
    with transaction_in_progress() as start:
        services.retire_code(code.owner)
        late = start(services.retire_code, code.owner)
    with pytest.raises(NoActiveCode):
        late.result()


def test_register_waits_for_a_deletion_of_its_code_and_refuses_after_it():
    """C9"""
    code = make_code()
    with transaction_in_progress() as start:
        services.retire_code(code.owner)
        late = start(services.register, **LINUS, referral_code=code.code)
    with pytest.raises(InvalidCode):
        late.result()
    assert not User.objects.filter(email=LINUS["email"]).exists()


def test_register_waits_for_the_closing_of_the_referrers_account_and_refuses_after_it():
    """C10"""
    code = make_code()
    with transaction_in_progress() as start:
        close_account(code.owner)
        late = start(services.register, **LINUS, referral_code=code.code)
    with pytest.raises(InvalidCode):
        late.result()
    assert not User.objects.filter(email=LINUS["email"]).exists()


@pytest.mark.parametrize("end_the_code", [services.retire_code, close_account])
def test_the_end_of_a_code_waits_for_a_registration_with_it_and_comes_after_it(end_the_code):
    """C9, C10"""
    code = make_code()
    with transaction_in_progress() as start:
        ReferralCode.objects.select_for_update(no_key=True).get()  # as far as a registration has come by then
        start(end_the_code, code.owner)
        linus = services.register(**LINUS, referral_code=code.code)
    code.refresh_from_db()
    referral = Referral.objects.get(referred=linus, referrer=code.owner)
    assert referral.created_at <= code.retired_at


def test_closing_an_account_waits_for_the_issue_of_a_code_to_it_and_ends_the_code():
    owner = make_user()
    with transaction_in_progress() as start:
        services.issue_code(owner=owner, expires_at=tomorrow())
        start(close_account, owner)
    assert ReferralCode.objects.get().retired_at


def test_an_account_that_was_closed_meanwhile_gets_no_code():
    owner = make_user()
    with transaction_in_progress() as start:
        close_account(User.objects.get(pk=owner.pk))
        late = start(services.issue_code, owner=owner, expires_at=tomorrow())
    with pytest.raises(InvalidToken):
        late.result()
    assert not ReferralCode.objects.exists()


def test_a_registration_that_waited_until_its_code_ran_out_is_refused():
    """C8"""
    code = make_code()
    with transaction_in_progress() as start:
        current = ReferralCode.objects.select_for_update(no_key=True).get()
        late = start(services.register, **LINUS, referral_code=code.code)
        ReferralCode.objects.filter(pk=current.pk).update(expires_at=Now())
    with pytest.raises(InvalidCode):
        late.result()
    assert not User.objects.filter(email=LINUS["email"]).exists()


def test_a_registration_holds_no_lock_while_it_hashes_so_that_another_gets_through():
    code = make_code()
    with ThreadPoolExecutor() as pool, hashing_held_up(SLOW_PASSWORD) as begun:
        slow = LINUS | {"password": SLOW_PASSWORD, "referral_code": code.code}
        late = pool.submit(on_own_connection, services.register, **slow)
        assert begun.wait(timeout=20)
        quick = {"email": "ada@example.com", "password": PASSWORD, "referral_code": code.code}
        pool.submit(on_own_connection, services.register, **quick).result(timeout=20)
    assert late.result().username == "linus"
    assert code.referrals.count() == 2


def test_a_person_who_registers_with_two_codes_at_once_is_referred_once():
    """C4"""
    codes = [make_code(), make_code()]
    with transaction_in_progress() as start:
        services.register(**LINUS, referral_code=codes[0].code)
        late = start(services.register, **LINUS, referral_code=codes[1].code)
    with pytest.raises(EmailTaken):
        late.result()
    assert Referral.objects.get().code == codes[0]


def test_of_two_claims_of_one_user_at_once_one_counts():
    """R4, C4"""
    one, other = make_code(), make_code()
    user = make_user()
    with transaction_in_progress() as start:
        services.claim(user, one.code)
        late = start(services.claim, user, other.code)
    with pytest.raises(AlreadyReferred):
        late.result()
    assert Referral.objects.get(referred=user).code == one


def test_a_sign_up_with_an_address_that_is_being_taken_tells_no_more_than_one_with_a_taken_one(settings):
    """N7, C1"""
    settings.REGISTRATION_REVEALS_ACCOUNTS = False
    with transaction_in_progress() as start:
        first = services.register(**LINUS)
        late = start(services.register, **LINUS | {"username": "another"})
    shadow = late.result()
    assert (first.email, shadow.email) == (LINUS["email"], LINUS["email"])
    assert User.objects.get(email=LINUS["email"]) == first
    assert User.objects.get(username="another").email is None
