"""The admin as a site; what it shows of each app is in the app's `admin.py`."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from csp.constants import SELF, UNSAFE_EVAL
from csp.decorators import csp_update
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from unfold.sites import UnfoldAdminSite

from config.api.problems import problem_or_page
from users import limits, services
from users.errors import InvalidToken, LimitReached, LimitsUnavailable
from users.models import User

# Alpine makes functions of what stands in attributes. No script and no style in the page itself runs for all that.
policy = csp_update({"script-src": [UNSAFE_EVAL], "font-src": [SELF], "img-src": ["data:"]})

ICONS = {
    "auth.Group": "groups",
    "referrals.Click": "ads_click",
    "referrals.Referral": "group_add",
    "referrals.ReferralCode": "redeem",
    "social_django.UserSocialAuth": "link",
    "users.AuditEvent": "policy",
    "users.OutgoingEmail": "mail",
    "users.User": "person",
}


class StaffSite(UnfoldAdminSite):
    """The admin, whose login page knows the limits of signing in."""

    site_header = site_title = _("Referral service")
    index_title = _("Overview")

    def get_urls(self) -> list[Any]:
        """All but Unfold's search for pages: it fails at a number that is none, and with the cache that we have."""
        return [url for url in super().get_urls() if getattr(url, "name", "") != "search"]

    def admin_view(self, view: Any, cacheable: bool = False) -> Callable[..., Any]:
        return policy(super().admin_view(view, cacheable))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        icon = static("pages/icon.svg")
        return super().each_context(request) | {
            "colors": None,  # would be a style in the page; they are in our style sheet
            "site_favicons": [{"rel": "icon", "href": icon, "type": "image/svg+xml"}],
            "site_header": self.site_header,
            "site_icon": icon,
            "site_title": self.site_title,
            "scripts": [static("staff/staff.js")],
            "styles": [static("staff/staff.css")],
        }

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """The lists, the one whose package names it for programmers under a name for people."""
        apps = super().get_app_list(request, app_label)
        for app in apps:
            if app["app_label"] == "social_django":
                app["name"] = _("Providers")
                app["models"][0]["name"] = _("Sign-ins through providers")
        return apps

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """The start, and each list that somebody may see."""
        start = {"title": self.index_title, "icon": "dashboard", "link": reverse(f"{self.name}:index")}
        groups: list[dict[str, Any]] = [{"items": [start]}]
        for app in self.get_app_list(request):
            models = [model for model in app["models"] if model["admin_url"]]
            lists = [
                {
                    "title": model["name"],
                    "icon": ICONS.get(model["model"]._meta.label, "table"),
                    "link": model["admin_url"],
                }
                for model in models
            ]
            groups.append({"title": app["name"], "separator": True, "items": lists})
        for item in (item for group in groups for item in group["items"]):
            item |= {"has_permission": True, "active": self._get_is_active(request, item["link"])}
        return groups

    @method_decorator(policy)
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
            with transaction.atomic():
                user = request.user = services.lock_account(user)  # all of it is saved, and may have changed meanwhile
                response = super().password_change(request, extra_context)
                if response.status_code == HTTPStatus.FOUND:
                    services.note_new_password(user)
        except (InvalidToken, LimitReached, LimitsUnavailable) as refusal:
            return problem_or_page(request, refusal)
        if response.status_code == HTTPStatus.FOUND:
            limits.password_was_right(attempt)
        return response
