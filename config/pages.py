"""What a request for a page goes through, and none for the API, which is a twentieth quicker for it."""

from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.deprecation import MiddlewareMixin
from whitenoise.middleware import WhiteNoiseMiddleware

from config.api import API_PREFIXES


class PagesOnly:
    """Mixed into a middleware, keeps the API out of it."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(API_PREFIXES):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]  # of the middleware


class PolicyMiddleware(PagesOnly, CSPMiddleware):
    """The content security policy; that of the API is always the same: see `config.api.door`."""


class FilesMiddleware(PagesOnly, WhiteNoiseMiddleware):
    pass


class SessionMiddleware(sessions.SessionMiddleware):
    """For pages, and for who leaves for a provider: by it they are known when they come back."""

    def __call__(self, request: HttpRequest) -> Any:
        path = request.path_info
        if path.startswith(API_PREFIXES) and not path.startswith("/auth/o/"):
            return self.get_response(request)
        return super().__call__(request)

    def process_request(self, request: HttpRequest) -> None:
        """PostgreSQL cannot look for a NUL: it is the name of no session."""
        if "\0" in request.COOKIES.get(settings.SESSION_COOKIE_NAME, ""):
            del request.COOKIES[settings.SESSION_COOKIE_NAME]
        super().process_request(request)


class CsrfMiddleware(PagesOnly, CsrfViewMiddleware):
    """Under the API, where no cookie lets anybody in, none is read or set. A view there that forgot so is refused."""


class AccountMiddleware(PagesOnly, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(PagesOnly, messages.MessageMiddleware):
    pass


class NoNulMiddleware(PagesOnly, MiddlewareMixin):
    """Turns away a NUL in the query or the cookies, which PostgreSQL would be asked for and cannot hold.

    The API itself says which parameter it is.
    """

    def process_request(self, request: HttpRequest) -> None:
        if "%00" in request.META["QUERY_STRING"] or any("\0" in value for value in request.COOKIES.values()):
            raise SuspiciousOperation("NUL in the query or a cookie")
