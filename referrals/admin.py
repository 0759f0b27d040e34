"""The admin's view of codes and referrals: all of it is written by services, so all of it is read-only here."""

from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy as _

from referrals import cards, codes, services
from referrals.models import Click, Referral, ReferralCode
from users.admin import UserAdmin
from users.listing import AT_ONCE, ReadOnlyAdmin, people
from users.models import User


def these_codes(typed: str) -> list[int]:
    """The ids of the codes, of now and of before, that somebody may mean."""
    folded = codes.read(typed)
    return list(ReferralCode.objects.filter(folded=folded).values_list("pk", flat=True)[:AT_ONCE]) if folded else []


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

    def find(self, term: str) -> Q:
        return Q(owner__in=people(term)) | Q(pk__in=these_codes(term))

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

    def find(self, term: str) -> Q:
        found = people(term)
        return Q(referrer__in=found) | Q(referred__in=found) | Q(code__in=these_codes(term))


@admin.register(Click)
class ClickAdmin(ReadOnlyAdmin):
    list_display = ("code", "clicked_at", "channel", "site", "device")
    list_filter = ("clicked_at", "device")
    list_select_related = ("code",)
    search_fields = ("code",)
    search_help_text = _("A code, a username, or how an address begins")

    def find(self, term: str) -> Q:
        owned = ReferralCode.objects.filter(owner__in=people(term)).values_list("pk", flat=True)
        return Q(code__in=[*these_codes(term), *owned[:AT_ONCE]])
