"""The door: who asks for another host, or in the clear for what must not be sent so, gets no further."""

from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.http.request import split_domain_port, validate_host
from django.http.response import ResponseHeaders
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext_lazy as _, override
from rest_framework import exceptions, status

from config.api import API_PREFIXES
from config.api.middleware import language_of
from config.api.problems import BadRequest, problem_or_page

API_HEADERS = ResponseHeaders(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        # What Django's own would add one by one, and lets be where it is:
        "Cross-Origin-Opener-Policy": settings.SECURE_CROSS_ORIGIN_OPENER_POLICY,
        "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": settings.X_FRAME_OPTIONS,
        "Server": "",  # where there is none, the server puts its own name
    }
)
PAGE_HEADERS = ResponseHeaders(
    {
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Server": "",
    }
)


class HttpsRequired(exceptions.APIException):
    status_code = status.HTTP_403_FORBIDDEN
    default_code = "https_required"
    default_detail = _(
        "What was sent could be read on its way. Use https://, and count what was secret in it as known."
    )


class DoorMiddleware(MiddlewareMixin):
    """Looks at how a request came, and gives every answer the headers that are always the same.

    It comes after Django's own for headers, so that what is turned away has those too.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if request.path_info in settings.PROBES:
            request.META["HTTP_HOST"] = urlsplit(settings.PUBLIC_URL).netloc
            return None
        if not _asks_for_us(request):
            return _refusal(request, BadRequest())
        if request.is_secure() or not settings.PRODUCTION:
            return None
        if request.path_info.startswith(API_PREFIXES):
            return _refusal(request, HttpsRequired())
        return HttpResponsePermanentRedirect(settings.PUBLIC_URL + request.get_full_path())

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        is_api = request.path_info.startswith(API_PREFIXES)
        # Django has no way to add many at once, and looks at each as if a stranger had made it up.
        response.headers._store |= (API_HEADERS if is_api else PAGE_HEADERS)._store
        return response


def _asks_for_us(request: HttpRequest) -> bool:
    """Whether every host that is named is ours; what a proxy says in `X-Forwarded-Host` is put to no other use."""
    try:
        request.get_host()
    except DisallowedHost:
        return False
    hosts = [host.strip() for host in request.META.get("HTTP_X_FORWARDED_HOST", "").split(",")]
    return all(validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS) for host in hosts if host)


def _refusal(request: HttpRequest, exc: exceptions.APIException) -> HttpResponse:
    """Nothing has looked yet at which language is asked for."""
    with override(language_of(request.META.get("HTTP_ACCEPT_LANGUAGE", ""))):
        return problem_or_page(request, exc)
