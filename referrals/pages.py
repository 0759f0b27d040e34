"""Where a share link leads: a page that says who invites, until when, and how to register."""

from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from config.api.problems import problem_or_page, problem_response
from referrals import cache, clicks, codes, services
from referrals.cache import PublicCode
from referrals.errors import NoActiveCode
from users.errors import LimitReached, LimitsUnavailable

SALT = "referrals.pages.current"


@require_safe
@cache_control(no_store=True)
def share_page(request: HttpRequest, code: str) -> HttpResponse:
    """Where a share link leads; with `?redirect=1` straight on to where people sign up, if it is known.

    An unknown, expired, deleted or blocked code is answered to the byte the same.
    """
    try:
        found = services.check_code(code, to_show=True)
    except (LimitReached, LimitsUnavailable) as refusal:
        return problem_or_page(request, refusal)
    if found is None:
        return render(request, "pages/share.html", status=404)
    response: HttpResponse
    if found.sign_up_url and request.GET.get("redirect") == "1":
        response = redirect(found.sign_up_url, preserve_request=True)  # 307
    else:
        response = render(request, "pages/share.html", {"code": found, "public_url": settings.PUBLIC_URL})
    if clicks.is_click(request, found):
        clicks.note(request, found)
        _remember(found, response)
    return response


@require_safe
@cache_control(no_store=True)
def current_code(request: HttpRequest) -> HttpResponse:
    """The code of the share link that this browser opened last, while it may be used; for pages of the same host."""
    name, window = settings.REFERRAL_COOKIE_NAME, timedelta(days=settings.ATTRIBUTION_WINDOW_DAYS)
    code = request.get_signed_cookie(name, "", salt=SALT, max_age=window)
    found = cache.find(codes.fold(code)) if code else None
    return JsonResponse({"code": found.code}) if found else problem_response(NoActiveCode())


def _remember(code: PublicCode, response: HttpResponse) -> None:
    """Have the browser bring the code to `current_code`; no script can read it, and nobody make it up."""
    if window := timedelta(days=settings.ATTRIBUTION_WINDOW_DAYS):
        attributes = {"max_age": window, "secure": settings.PRODUCTION, "httponly": True, "samesite": "Lax"}
        response.set_signed_cookie(settings.REFERRAL_COOKIE_NAME, code.code, salt=SALT, **attributes)
