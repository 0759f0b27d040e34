"""The admin's view of codes and referrals: all of it is written by services, so all of it is read-only here."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from referrals.models import Click, Referral, ReferralCode
from users.admin import ReadOnlyAdmin


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("active", _("Active")), ("expired", _("Expired")), ("retired", _("Retired"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ReferralCode]) -> QuerySet[ReferralCode]:
        states: dict[str, dict[str, Any]] = {
            "active": {"retired_at": None, "expires_at__gt": timezone.now()},
            "expired": {"retired_at": None, "expires_at__lte": timezone.now()},
            "retired": {"retired_at__isnull": False},
        }
        return queryset.filter(**states.get(self.value() or "", {}))


@admin.register(ReferralCode)
class ReferralCodeAdmin(ReadOnlyAdmin):
    list_display = ("code", "owner", "created_at", "expires_at", "retired_at")
    list_filter = (StateFilter, "created_at", "expires_at")
    list_select_related = ("owner",)
    search_fields = ("code", "owner__username", "owner__email")
    date_hierarchy = "created_at"
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Referral)
class ReferralAdmin(ReadOnlyAdmin):
    list_display = ("referred", "referrer", "code", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("referred", "referrer", "code")
    search_fields = ("referrer__username", "referrer__email", "referred__username", "referred__email", "code__code")
    date_hierarchy = "created_at"
    ordering = ("-id",)
    show_full_result_count = False


@admin.register(Click)
class ClickAdmin(ReadOnlyAdmin):
    list_display = ("code", "clicked_at", "channel", "site", "device")
    list_filter = ("clicked_at", "device")
    list_select_related = ("code",)
    search_fields = ("code__code", "code__owner__username", "channel", "site")
    date_hierarchy = "clicked_at"
    ordering = ("-id",)
    show_full_result_count = False
