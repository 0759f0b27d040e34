"""Where a share link leads: a page that says who invites, until when, and how to register."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from config.api.problems import problem_or_page
from referrals import services
from users.errors import LimitReached, LimitsUnavailable


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
    if found and found.sign_up_url and request.GET.get("redirect") == "1":
        return redirect(found.sign_up_url, preserve_request=True)  # 307
    context = {"code": found, "public_url": settings.PUBLIC_URL}
    return render(request, "pages/share.html", context, status=200 if found else 404)
