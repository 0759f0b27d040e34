"""The step of the social-auth pipeline that makes an account: with the referral that belongs to it."""

from typing import Any

from referrals import services
from users.errors import AccountExists, EmailTaken
from users.models import User
from users.social import Strategy, prepare_social_account


def open_account(
    strategy: Strategy,
    backend: Any,
    details: dict[str, Any],
    response: dict[str, Any],
    user: User | None = None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Make an account for who comes for the first time, referred by the code that was kept when they left.

    Whoever has an account keeps the referrer they have, or have not.
    """
    if user:
        return {"is_new": False}
    account = prepare_social_account(backend, details, response)
    try:
        return {"is_new": True, "user": services.join(account, strategy.kept.get("referral_code"))}
    except EmailTaken:  # somebody was a moment faster
        raise AccountExists from None
