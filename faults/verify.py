"""Whether the database holds what the clients' journals say, no more and no less."""

from collections import Counter, defaultdict

from faults.journal import DONE, NEVER, Account, Journal
from referrals.models import Referral, ReferralCode
from users.models import OutgoingEmail, TokenFamily, User, digest
from users.tests.factories import PASSWORD

SIGN_UP, CODE, RESET = "Confirm your e-mail address", "Your referral code", "Set a new password"


def accounts_of(journal: Journal) -> dict[str, Account]:
    accounts: defaultdict[str, Account] = defaultdict(Account)
    for call in journal.calls():
        accounts[call["person"]].add(call)
    return accounts


def check_against(journal: Journal) -> Counter[str]:
    """Raises AssertionError where an acknowledged call is lost or half done, or any was done twice.

    Returns how many of the unanswered sign-ups there were and were not done after all.
    """
    came: Counter[str] = Counter()
    for email, account in accounts_of(journal).items():
        if account.registered == NEVER:
            continue
        users = list(User.objects.filter(email=email))
        came[f"{account.registered} {len(users)}"] += 1
        assert len(users) <= 1, email
        assert users or account.registered != DONE, f"{email} is lost"
        mails = Counter(OutgoingEmail.objects.filter(to=email).values_list("subject", flat=True))
        if users:
            _check_account(users[0], account)
            assert mails[SIGN_UP] == 1, (email, mails)
            for subject, (least, most) in {CODE: account.code_mails, RESET: account.reset_mails}.items():
                assert least <= mails[subject] <= most, (email, account, mails)
        else:
            assert not mails, (email, mails)
    return came


def _check_account(user: User, account: Account) -> None:
    assert user.username in account.usernames, (user.email, account)
    if account.passwords != {PASSWORD}:  # for a look takes its time
        assert any(user.check_password(password) for password in account.passwords), (user.email, account)
    referrals = Referral.objects.filter(referred=user).values_list("code__code", flat=True)
    assert list(referrals) == ([account.code_used] if account.code_used else []), (user.email, account)
    rows = ReferralCode.objects.filter(owner=user)
    states = {row.code: "active" if row.retired_at is None else "retired" for row in rows}
    assert len(states) == len(rows), user.email
    assert states.keys() <= account.codes.keys(), (user.email, states)
    for code, possible in account.codes.items():
        assert states.get(code, "absent") in possible, (user.email, code, states, possible)
    if account.login:
        family, token = account.login
        assert TokenFamily.objects.get(pk=family).current == digest(token), user.email
