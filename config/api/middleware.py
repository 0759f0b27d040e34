"""What happens to a request before any view sees it."""

import re
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware
from django.utils import translation
from django.utils.cache import patch_vary_headers
from rest_framework.exceptions import ParseError, PermissionDenied

from config.api import API_PREFIXES
from config.api.problems import BadRequest, ContentTooLarge, problem_response
from config.api.remembering import Remembered

Handler = Callable[[HttpRequest], HttpResponse]
LENGTH = re.compile(r"[0-9]{1,18}")


class ApiGateMiddleware:
    """Turns away what under the API is not worth a look: bodies that are too large, or empty where JSON is announced,
    and what the page of another site has a browser send, which could read no answer and only use limits up."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(API_PREFIXES):
            return self.get_response(request)
        length = request.META.get("CONTENT_LENGTH") or "0"
        if request.method not in ("GET", "HEAD", "OPTIONS") and _comes_from_a_stranger(request):
            response = problem_response(PermissionDenied())
        elif not LENGTH.fullmatch(length):
            response = problem_response(BadRequest())
        elif int(length) > settings.API_BODY_LIMIT:
            response = problem_response(ContentTooLarge())
        elif int(length) == 0 and request.content_type == "application/json" and request.method in ("POST", "PATCH"):
            response = problem_response(ParseError())
        else:
            response = self.get_response(request)
        if response.status_code == 405:  # DRF counts OPTIONS among what it allows, and HEAD wherever there is GET
            allowed = response.get("Allow", "").split(", ")
            response["Allow"] = ", ".join(method for method in allowed if method != request.method)
        return response


def _comes_from_a_stranger(request: HttpRequest) -> bool:
    is_elsewhere = request.META.get("HTTP_SEC_FETCH_SITE") == "cross-site"
    return is_elsewhere and request.META.get("HTTP_ORIGIN") not in settings.CORS_ALLOWED_ORIGINS


class RedirectOnlyReadsMiddleware(CommonMiddleware):
    """Adds a missing final slash by redirect for GET and HEAD only: a redirected POST would lose its body."""

    def process_request(self, request: HttpRequest) -> None:
        """Nothing yet: where the slash is missing, nothing will be found, which is seen as the answer leaves."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)


class LanguageMiddleware:
    """Django's LocaleMiddleware, for the header alone: no path and no cookie names a language here."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        language = language_of(request.META.get("HTTP_ACCEPT_LANGUAGE", ""))
        translation.activate(language)
        response = self.get_response(request)
        response.headers["Content-Language"] = language
        patch_vary_headers(response, ["Accept-Language"])
        return response


@Remembered
def language_of(accept: str) -> str:
    """The language of ours that an `Accept-Language` asks for."""
    request = HttpRequest()
    request.META["HTTP_ACCEPT_LANGUAGE"] = accept
    return translation.get_language_from_request(request)
