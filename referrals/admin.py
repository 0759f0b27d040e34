"""The admin's view of codes and referrals: all of it is written by services, so all of it is read-only here."""

from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy as _

from referrals import cards, codes, services
from referrals.models import Click, Referral, ReferralCode
from users.admin import UserAdmin
from users.listing import ReadOnlyAdmin, either, people
from users.models import User


def codes_of(found: list[int], term: str) -> QuerySet[Any]:
    """The ids of the codes of these people, and of those, of now and of before, that somebody may mean by a term."""
    return either(
        ReferralCode.objects.filter(owner__in=found), ReferralCode.objects.filter(folded=codes.read(term) or "")
    )


admin.site.unregister(User)


@admin.register(User)
class PersonAdmin(UserAdmin):
    """An account, with what it has to do with codes and referrals beside it."""

    change_form_outer_before_template = "admin/cards.html"

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if user := kwargs["obj"]:
            context["cards"] = cards.about(user, request)
        return super().render_change_form(request, context, *args, **kwargs)


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
    linked_by = ("owner",)
    actions = ("retire", "export")
    list_display = ("code", "owner", "created_at", "expires_at", "retired_at")
    list_filter = (StateFilter, "created_at", "expires_at")
    list_select_related = ("owner",)
    search_fields = ("code", "owner")
    search_help_text = _("A code, a username, or how an address begins")

    def find(self, term: str) -> QuerySet[Any]:
        return codes_of(list(people(term)), term)

    @admin.action(description=_("Retire"), permissions=["act"])
    def retire(self, request: HttpRequest, queryset: QuerySet[ReferralCode]) -> None:
        retired = services.retire_codes(self.few(request, queryset), by=cast(User, request.user))
        told = gettext("Codes that are retired now: %(count)d.") % {"count": retired}
        self.message_user(request, told, messages.SUCCESS if retired else messages.WARNING)


@admin.register(Referral)
class ReferralAdmin(ReadOnlyAdmin):
    linked_by = ("referrer",)
    list_display = ("referred", "referrer", "code", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("referred", "referrer", "code")
    search_fields = ("referrer", "referred", "code")
    search_help_text = _("A code, a username, or how an address begins, of either of the two")

    def find(self, term: str) -> QuerySet[Any]:
        found = list(people(term))
        by_code = Referral.objects.filter(code__in=list(codes_of([], term)))
        return either(Referral.objects.filter(referrer__in=found), Referral.objects.filter(referred__in=found), by_code)


@admin.register(Click)
class ClickAdmin(ReadOnlyAdmin):
    list_display = ("code", "clicked_at", "channel", "site", "device")
    list_filter = ("clicked_at", "device")
    list_select_related = ("code",)
    search_fields = ("code",)
    search_help_text = _("A code, a username, or how an address begins")

    def find(self, term: str) -> QuerySet[Any]:
        return either(Click.objects.filter(code__in=list(codes_of(list(people(term)), term))))
