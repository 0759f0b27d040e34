"""The admin's view of accounts. What a service writes is shown and not edited here."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from users.models import OutgoingEmail, User

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows to look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("active", _("Active")), ("blocked", _("Blocked")), ("closed", _("Closed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        states: dict[str, dict[str, Any]] = {
            "active": {"is_active": True},
            "blocked": {"is_active": False, "closed_at": None},
            "closed": {"closed_at__isnull": False},
        }
        return queryset.filter(**states.get(self.value() or "", {}))


class NewUserForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email", "username")


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    """Accounts are closed by their owners and never deleted: what others have through them must stay."""

    add_form = NewUserForm
    list_display = ("username", "email", "email_verified_at", "registered_at", "is_active", "is_staff")
    list_filter = (StateFilter, "is_staff", ("email_verified_at", admin.EmptyFieldListFilter), "registered_at")
    search_fields = ("username", "email")
    date_hierarchy = "registered_at"
    ordering = ("-id",)
    show_full_result_count = False
    readonly_fields = ("email", "email_verified_at", "registered_at", "closed_at")
    fieldsets = (
        (None, {"fields": ("username", "email", "password")}),
        (_("Dates"), {"fields": ("registered_at", "email_verified_at", "closed_at")}),
        (_("Settings"), {"fields": ("discoverable_by_email", "language", "is_active")}),
        (_("Rights"), {"fields": RIGHTS}),
    )
    add_fieldsets = ((None, {"fields": ("email", "username", "usable_password", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return self.readonly_fields if request.user.is_superuser else (*self.readonly_fields, *RIGHTS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Staff who are no superuser touch no other staff: a new password of theirs would give its rights away."""
        if obj is not None and (obj.is_staff or obj.is_superuser) and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


@admin.register(OutgoingEmail)
class OutgoingEmailAdmin(ReadOnlyAdmin):
    """Mail on its way. The text stays out of sight: it may hold a link that lets someone in."""

    list_display = ("created_at", "to", "subject", "tries", "sent_at", "failed_at", "last_error")
    list_filter = (
        ("sent_at", admin.EmptyFieldListFilter),
        ("failed_at", admin.EmptyFieldListFilter),
        "created_at",
    )
    search_fields = ("to", "subject")
    date_hierarchy = "created_at"
    ordering = ("-id",)
    show_full_result_count = False
    exclude = ("message",)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """A filter in the address of the list must not spell the text out either."""
        return not lookup.startswith("message") and super().lookup_allowed(lookup, value, request)
