"""Signing in through a provider: what social-auth is told to use, and what becomes of its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation
from rest_framework.request import Request
from social_core.backends.base import BaseAuth
from social_core.exceptions import SocialAuthBaseException
from social_django.models import DjangoStorage
from social_django.strategy import DjangoStrategy

from users import audit, mail
from users.emails import canonical_email
from users.errors import (
    AccountExists,
    IdentityInUse,
    NoActiveAccount,
    NoEmailFromProvider,
    ProviderUnavailable,
    SignInFailed,
    UnknownProvider,
)
from users.models import AuditEvent, User, made_up_username


class Strategy(DjangoStrategy):
    """Takes what came back from the provider from a valid body, JSON or form, and never from the query.

    The steps run in one transaction, after the last word with the provider: all that they write, or nothing.
    """

    def __init__(
        self, request: Request, returned: dict[str, Any] | None = None, kept: dict[str, Any] | None = None
    ) -> None:
        """`returned` came back from the provider; `kept` is what the server remembers from before they left."""
        self.returned, self.kept = returned or {}, kept or {}
        super().__init__(DjangoStorage, request)

    def get_request_data(self, merge: bool = True) -> dict[str, Any]:
        return self.returned

    def authenticate(self, backend: BaseAuth, **kwargs: Any) -> Any:
        with transaction.atomic():
            return super().authenticate(backend, **kwargs)  # type: ignore[no-untyped-call]


@contextmanager
def problems_of_providers() -> Iterator[None]:
    """Turn social-auth's exceptions into refusals of ours; their texts may quote a provider and are not passed on."""
    try:
        yield
    except SocialAuthBaseException as error:
        if error.code == "backend_missing":
            raise UnknownProvider from None
        if error.code in ("identity_in_use", "email_in_use"):
            raise IdentityInUse from None
        if error.recovery == "retry_later":
            raise ProviderUnavailable from None
        raise SignInFailed from None


def backend_of(provider: str, strategy: Strategy, redirect_uri: str | None = None) -> BaseAuth:
    """The backend of an enabled provider. Raises UnknownProvider."""
    if provider not in settings.SOCIAL_PROVIDERS:
        raise UnknownProvider
    return strategy.get_backend(provider, redirect_uri=redirect_uri)


def begin(request: Request, provider: str, redirect_uri: str, **kept: Any) -> str:
    """Where to send the person: the provider's page, with a state that this session alone can bring back.

    `kept` waits in the session beside the state. Raises UnknownProvider, ProviderUnavailable.
    """
    try:
        with problems_of_providers():
            url: str = backend_of(provider, Strategy(request), redirect_uri).auth_url()
    except SignInFailed:  # nobody has come back yet, so what is wrong is what the provider says of itself
        raise ProviderUnavailable from None
    [state] = parse_qs(urlsplit(url).query)["state"]
    user = request.user.pk if request.user.is_authenticated else None
    request.session[_key(state)] = {"provider": provider, "redirect_uri": redirect_uri, "user": user, **kept}
    return url


def complete(request: Request, provider: str, returned: dict[str, Any]) -> User:
    """The account of who comes back; made now if need be, or the one that is signed in, with the provider added.

    Raises UnknownProvider, SignInFailed, NoActiveAccount, AccountExists, IdentityInUse, NoEmailFromProvider,
    ProviderUnavailable, and what refuses a new account.
    """
    kept = request.session.pop(_key(returned["state"]), {})
    backend = backend_of(provider, Strategy(request, returned, kept), kept.get("redirect_uri"))
    signed_in = request.user if request.user.is_authenticated else None
    if kept.get("provider") != provider or kept["user"] != (signed_in.pk if signed_in else None):
        raise SignInFailed
    with problems_of_providers():
        user = backend.auth_complete(user=signed_in)
    if not isinstance(user, User):
        raise SignInFailed
    if not user.may_sign_in:
        audit.record(AuditEvent.Kind.SIGN_IN_FAILED, user, provider=provider)
        raise NoActiveAccount
    return user


def _key(state: str) -> str:
    return f"sign_in_{state}"


# --- steps of the pipeline ---


def tell_of_a_new_link(user: User, is_new: bool, new_association: bool, backend: BaseAuth, **kwargs: Any) -> None:
    """Mail a notice when an account that was there before can be entered in a new way."""
    if new_association and not is_new:
        audit.record(AuditEvent.Kind.PROVIDER_ADDED, user, provider=backend.name)
        mail.NewLinkEmail(user, provider=backend.get_title(backend.strategy)).queue()


def prepare_social_account(backend: Any, details: dict[str, Any], response: dict[str, Any]) -> User:
    """An account, not stored yet, for someone who comes through a provider for the first time.

    An address that has an account is refused, whatever the provider says of it: who owns the account signs in and
    adds the provider there. Where sign-ups must not tell which addresses have accounts, only who owns the address is
    told. Raises NoEmailFromProvider, AccountExists.
    """
    told = details.get("email")
    try:
        email = canonical_email(told if isinstance(told, str) else "")
    except ValueError:
        raise NoEmailFromProvider from None
    vouched_for = backend.vouches_for_email(response)
    if User.objects.filter(email=email).exists():
        raise AccountExists if vouched_for or settings.REGISTRATION_REVEALS_ACCOUNTS else NoActiveAccount
    user = User(email=email, username=made_up_username(), language=translation.get_language() or "en")
    user.email_verified_at = timezone.now() if vouched_for else None
    user.set_unusable_password()
    return user
