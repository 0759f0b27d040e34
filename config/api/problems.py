"""Errors as `application/problem+json` (RFC 9457), all of them from here.

A problem is `{type, title, status, detail, code, errors?, request_id}`. `code` is stable; `title` and `detail` follow
`Accept-Language`. `errors` is there when fields are at fault: `[{field, code, detail}]`, with `field` null where it is
the body as a whole.
"""

import errno
import logging
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_lazy as _
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.settings import api_settings

from config.api import API_PREFIXES
from config.api.context import request_id
from config.api.renderers import JSONRenderer

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
NOBODYS_FAULT = (sqlite3.DatabaseError, psycopg.DatabaseError)
"""What a driver raises itself, not a class of it: the file is none, or the server broke off in the middle of a word."""
READ_ONLY = "25006"  # of PostgreSQL: it has become a standby, or its operator let it only read

TITLES = {
    400: _("Bad request"),
    401: _("Not signed in"),
    403: _("Forbidden"),
    404: _("Not found"),
    405: _("Method not allowed"),
    406: _("Not acceptable"),
    409: _("Conflict"),
    413: _("Content too large"),
    415: _("Unsupported media type"),
    429: _("Too many requests"),
    500: _("Internal server error"),
    503: _("Service unavailable"),
}


class BadRequest(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_code = "bad_request"
    default_detail = _("The request cannot be understood.")


class ContentTooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "content_too_large"
    default_detail = format_lazy(
        _("The body is larger than the {kib} KiB that a request may have."), kib=settings.API_BODY_LIMIT // 1024
    )


class ServiceUnavailable(exceptions.APIException):
    """What this stands on is away, or too busy to answer in time."""

    status_code, default_code = status.HTTP_503_SERVICE_UNAVAILABLE, "service_unavailable"
    default_detail = _("This cannot be done just now. Try again in a moment.")
    wait = 5  # seconds


class InvalidField(exceptions.ValidationError):
    """A refusal for which fields are at fault; a subclass names them, the code and the text."""

    fields: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__({field: [self.default_detail] for field in self.fields}, code=self.default_code)

    @classmethod
    def here(cls) -> exceptions.ValidationError:
        """The same for a serializer's `validate_<field>`, which knows by itself where it is."""
        return exceptions.ValidationError(cls.default_detail, code=cls.default_code)


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer a view's exception with a problem; DRF calls it. None leaves an unexpected one to `server_error`."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()  # Django's own text names the model and so what exists
    elif isinstance(exc, DjangoPermissionDenied):
        exc = exceptions.PermissionDenied()
    elif out_of_service(exc):
        exc = unavailable(exc)
    if not isinstance(exc, exceptions.APIException):
        return None
    headers = waiting(exc)
    if auth_header := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    request = context["request"]
    request.accepted_renderer, request.accepted_media_type = JSONRenderer(), CONTENT_TYPE  # whatever the view renders
    body = problem_of(exc)
    return Response(body, status=body["status"], headers=headers, content_type=CONTENT_TYPE)


def out_of_service(error: BaseException) -> bool:
    """Whether the database is away, full, locked, late, unreadable or only to be read, or memory or files are out.

    A driver has several classes for these; what the data or the statement is at fault for has others.
    """
    if isinstance(error, OperationalError | InterfaceError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno in EXHAUSTED
    cause = error.__cause__ if isinstance(error, DatabaseError) else None
    return type(cause) in NOBODYS_FAULT or getattr(cause, "sqlstate", None) == READ_ONLY


def unavailable(error: BaseException) -> ServiceUnavailable:
    """What is answered where what is needed does not serve; the log has its kind, without its words."""
    logger.warning("the database or the memory does not serve: %s", type(error).__name__)
    return ServiceUnavailable()


def problem_response(exc: exceptions.APIException) -> HttpResponse:
    """The same answer for what never reaches a view."""
    body = problem_of(exc)
    return JsonResponse(body, status=body["status"], headers=waiting(exc), content_type=CONTENT_TYPE)


def waiting(exc: exceptions.APIException) -> dict[str, str]:
    """The header that says how many seconds to wait, where `exc` says it."""
    wait = getattr(exc, "wait", None)
    return {"Retry-After": str(int(wait))} if wait else {}


def problem_of(exc: exceptions.APIException) -> dict[str, Any]:
    detail: Any = exc.detail
    errors: list[dict[str, Any]] = []
    if isinstance(exc, exceptions.ValidationError):
        code, errors = "invalid", list(_fields_of(detail))
        detail = gettext("Some of what was sent is not valid.") if len(errors) != 1 else errors[0]["detail"]
    elif isinstance(detail, dict):  # simplejwt's own exceptions
        code, detail = str(detail["code"]), detail["detail"]
    else:
        code = getattr(detail, "code", exc.default_code)
    if isinstance(exc, exceptions.ParseError):
        detail = gettext("The body cannot be read as what its Content-Type says it is.")
    problem = {
        "type": "about:blank",
        "title": str(TITLES.get(exc.status_code, exc.status_code)),
        "status": exc.status_code,
        "detail": str(detail),
        "code": code,
    }
    return problem | ({"errors": errors} if errors else {}) | {"request_id": request_id.get()}


def _fields_of(detail: Any, path: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Each error of a DRF error tree, with the dotted path of its field."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _fields_of(inner, path if name == api_settings.NON_FIELD_ERRORS_KEY else (*path, str(name)))
    elif isinstance(detail, list):
        for inner in detail:
            yield from _fields_of(inner, path)
    else:
        yield {"field": ".".join(path) or None, "code": detail.code, "detail": str(detail)}


# --- Django's own error views: a problem under the API, a page elsewhere ---


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_or_page(request, BadRequest())


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_or_page(request, exceptions.PermissionDenied())


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return problem_or_page(request, exceptions.PermissionDenied())


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    detail = None
    if not request.path.endswith("/") and _leads_somewhere(request.path_info + "/"):
        detail = gettext("Not found. Did you mean %(path)s, with a slash at the end?") % {"path": request.path + "/"}
    return problem_or_page(request, exceptions.NotFound(detail))


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    if error and out_of_service(error):  # in a page, or in a middleware before any view
        return problem_or_page(request, unavailable(error))
    return problem_or_page(request, exceptions.APIException(gettext("Something went wrong on our side.")))


def problem_or_page(request: HttpRequest, exc: exceptions.APIException) -> HttpResponse:
    """What `exc` is answered with under the API, or on a page."""
    if request.path.startswith(API_PREFIXES):
        return problem_response(exc)
    headers = waiting(exc)
    context = {"title": TITLES[exc.status_code], "detail": headers and exc.detail, "request_id": request_id.get()}
    response = render(request, "error.html", context, status=exc.status_code)
    for name, value in headers.items():
        response[name] = value
    return response


def _leads_somewhere(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True
