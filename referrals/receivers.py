"""What this app does about the news of those below."""

from typing import Any

from django.db.models import QuerySet
from django.dispatch import receiver

from referrals import services
from users.models import User
from users.signals import account_closed, appearance_changed, tidying


@receiver(account_closed)
def end_the_code_of_a_closed_account(user: User, **kwargs: Any) -> None:
    services.retire_any_code(user)


@receiver(appearance_changed)
def show_the_code_with_its_owner_as_they_are_now(user: User, **kwargs: Any) -> None:
    services.drop_any_code(user)


@receiver(tidying)
def hand_in_old_clicks(**kwargs: Any) -> dict[str, QuerySet[Any]]:
    return {"clicks": services.clicks_that_are_over()}
