"""What callers may be refused here."""

from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, status

from config.api.problems import BadRequest, InvalidField, ServiceUnavailable


class EmailTaken(InvalidField):
    fields, default_code = ("email",), "email_taken"
    default_detail = _("There is an account with this e-mail address already.")


class UsernameTaken(InvalidField):
    fields, default_code = ("username",), "username_taken"
    default_detail = _("This username is taken.")


class InvalidLink(InvalidField):
    """One answer for a wrong uid, a wrong token, a used and an expired one."""

    fields, default_code = ("uid", "token"), "invalid_token"
    default_detail = _("This link is not valid, was used already, or has expired.")


class StaleLogin(BadRequest):
    """A new way to sign in is added by who has just signed in, and not by who has found a token."""

    default_code = "fresh_login_required"
    default_detail = _("Sign in anew, and try again within five minutes.")


class FreshLoginRequired(InvalidField):
    """Who has no password shows by a new login that it is still them."""

    fields, default_code = ("current_password",), "fresh_login_required"
    default_detail = StaleLogin.default_detail


class InvalidToken(exceptions.AuthenticationFailed):
    """One answer for every token that is not accepted, whatever is wrong with it."""

    default_code = "token_not_valid"
    default_detail = _("The token is not valid or has expired.")


class NoActiveAccount(exceptions.AuthenticationFailed):
    """One answer for every failed login, whatever the cause."""

    default_code = "no_active_account"
    default_detail = _("There is no active account with these credentials.")


class LimitReached(exceptions.Throttled):
    """Too often; `Retry-After` says how many seconds to wait."""

    default_detail = _("Too many requests of this kind.")


class LimitsUnavailable(ServiceUnavailable):
    """What counts is away, and what has a limit waits for it: nothing is let through uncounted."""

    default_code = "limits_unavailable"


class UnknownProvider(exceptions.NotFound):
    default_code = "unknown_provider"
    default_detail = _("There is no such provider.")


class InvalidRedirectUri(InvalidField):
    fields, default_code = ("redirect_uri",), "invalid_redirect_uri"
    default_detail = _("This address is not among those that are allowed.")


class SignInFailed(BadRequest):
    """One answer for a wrong, used or foreign state, a code that the provider does not take, and a forged token."""

    default_code = "sign_in_failed"
    default_detail = _("Signing in through the provider did not work. Start anew.")


class NoEmailFromProvider(BadRequest):
    default_code = "no_email_from_provider"
    default_detail = _("The provider did not tell an e-mail address. Allow it to, or register without it.")


class AccountExists(exceptions.APIException):
    status_code, default_code = status.HTTP_409_CONFLICT, "account_exists"
    default_detail = _("There is an account with this e-mail address. Sign in to it, then add the provider.")


class IdentityInUse(exceptions.APIException):
    status_code, default_code = status.HTTP_409_CONFLICT, "identity_in_use"
    default_detail = _("This identity belongs to another account already.")


class ProviderUnavailable(exceptions.APIException):
    """The provider, not this service, is away."""

    status_code, default_code = status.HTTP_503_SERVICE_UNAVAILABLE, "provider_unavailable"
    default_detail = _("The provider does not answer. Try again later.")
    wait = 30  # seconds
