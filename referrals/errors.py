"""What callers may be refused here."""

from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, status

from config.api.problems import BadRequest, InvalidField


class ActiveCodeExists(exceptions.APIException):
    status_code, default_code = status.HTTP_409_CONFLICT, "active_code_exists"
    default_detail = _("You already have an active referral code. Delete it first.")


class CodeTaken(exceptions.APIException):
    status_code, default_code = status.HTTP_409_CONFLICT, "code_taken"
    default_detail = _("This code is taken. Choose another one.")


class EndsTooSoon(InvalidField):
    fields, default_code = ("expiration_date",), "too_soon"
    default_detail = _("The code must run for at least a minute.")


class NoActiveCode(exceptions.NotFound):
    default_code = "no_active_code"
    default_detail = _("There is no active referral code.")


class InvalidCode(InvalidField):
    """One answer for an unknown, an expired and a deleted code, and for what is no code at all."""

    fields, default_code = ("referral_code",), "invalid_code"
    default_detail = _("This referral code is not valid.")


class PrefetchRefused(BadRequest):
    """A browser that looks ahead must not send mail."""

    default_code = "prefetch_refused"
    default_detail = _("This call sends an e-mail and cannot be prefetched.")


class AlreadyReferred(exceptions.APIException):
    status_code, default_code = status.HTTP_409_CONFLICT, "already_referred"
    default_detail = _("You have a referrer already.")


class ClaimWindowClosed(exceptions.APIException):
    status_code, default_code = status.HTTP_409_CONFLICT, "claim_window_closed"
    default_detail = _("It is too long ago that you registered.")
