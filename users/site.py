"""The admin as a site; what it shows of each app is in the app's `admin.py`."""

from http import HTTPStatus
from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from config.api.problems import problem_or_page
from users import limits, services
from users.errors import LimitReached, LimitsUnavailable
from users.models import User


class StaffSite(admin.AdminSite):
    """The admin, whose login page knows the limits of signing in."""

    site_header = site_title = _("Referral service")

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            return super().login(request, extra_context)
        except (LimitReached, LimitsUnavailable) as refusal:
            return problem_or_page(request, refusal)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if request.method != "POST":
            return super().password_change(request, extra_context)
        user = cast(User, request.user)
        try:
            attempt = limits.password_try(f"login {user.email}", user)
        except (LimitReached, LimitsUnavailable) as refusal:
            return problem_or_page(request, refusal)
        response = super().password_change(request, extra_context)
        if response.status_code == HTTPStatus.FOUND:
            limits.password_was_right(attempt)
            services.note_new_password(user)
        return response
