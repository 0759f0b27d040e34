"""The admin's view of accounts. What a service writes is shown and not edited here."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy as _
from social_django.models import Association, Nonce, UserSocialAuth

from users import services
from users.mail import ActivationEmail
from users.models import AuditEvent, OutgoingEmail, User

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


class OwnFiltersOnly(admin.ModelAdmin):
    """An address of a list filters by what the list offers, and spells out nothing else of its rows."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        field = lookup.split("__")[0]
        entries = [entry[0] if isinstance(entry, tuple) else entry for entry in self.get_list_filter(request)]
        offered = [getattr(entry, "parameter_name", entry) for entry in entries]
        return field in [*offered, self.date_hierarchy] and super().lookup_allowed(lookup, value, request)


class ReadOnlyAdmin(OwnFiltersOnly):
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


class NewPasswordForm(AdminPasswordChangeForm):
    """What staff give somebody as a password is told to them as any new one is."""

    def save(self, commit: bool = True) -> Any:
        with transaction.atomic():
            user = super().save(commit)
            services.note_new_password(user)
        return user


@admin.register(User)
class UserAdmin(OwnFiltersOnly, DjangoUserAdmin):
    """Accounts are closed by their owners and never deleted: what others have through them must stay."""

    add_form = NewUserForm
    change_password_form = NewPasswordForm
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
        closed = ("is_active",) if obj.closed_at else ()
        return (*self.readonly_fields, *closed, *(() if request.user.is_superuser else RIGHTS))

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            ActivationEmail(obj).queue()
            return
        columns = {field.name for field in User._meta.concrete_fields}
        obj.save(update_fields=columns & {*form.changed_data})  # the rest may have changed since it was read
        if "is_active" in form.changed_data:
            services.note_block(obj, blocked=not obj.is_active, by=cast(User, request.user))
        if "username" in form.changed_data:
            services.note_new_username(obj)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Staff who are no superuser touch no other staff: a new password of theirs would give its rights away."""
        if obj is not None and (obj.is_staff or obj.is_superuser) and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


class MailStateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("waiting", _("Waiting")), ("sent", _("Sent")), ("failed", _("Given up"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[OutgoingEmail]) -> QuerySet[OutgoingEmail]:
        states: dict[str, dict[str, Any]] = {
            "waiting": {"sent_at": None, "failed_at": None},
            "sent": {"sent_at__isnull": False},
            "failed": {"failed_at__isnull": False},
        }
        return queryset.filter(**states.get(self.value() or "", {}))


@admin.register(OutgoingEmail)
class OutgoingEmailAdmin(ReadOnlyAdmin):
    """Mail on its way. The text stays out of sight: it may hold a link that lets someone in."""

    actions = ("send_again",)
    list_display = ("created_at", "to", "subject", "tries", "next_try_at", "sent_at", "failed_at", "last_error")
    list_filter = (MailStateFilter, "created_at")
    search_fields = ("to", "subject")
    date_hierarchy = "created_at"
    ordering = ("-id",)
    show_full_result_count = False
    exclude = ("message",)

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("users.change_outgoingemail")

    @admin.action(description=_("Send again (links may have run out)"), permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[OutgoingEmail]) -> None:
        again = services.send_again(queryset, by=cast(User, request.user))
        told = gettext("E-mails that are on their way again: %(count)d.") % {"count": again}
        self.message_user(request, told, messages.SUCCESS if again else messages.WARNING)


admin.site.unregister([Association, Nonce, UserSocialAuth])  # the first two hold what states are made of


@admin.register(UserSocialAuth)
class IdentityAdmin(ReadOnlyAdmin):
    """Who people are at their providers. A row added here would be a way into an account."""

    list_display = ("user", "provider", "uid", "created")
    list_filter = ("provider", "created")
    list_select_related = ("user",)
    search_fields = ("user__username", "user__email", "uid")
    ordering = ("-id",)
    show_full_result_count = False
    exclude = ("extra_data",)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "kind", "user", "actor", "client", "request_id")
    list_filter = ("kind", "created_at")
    list_select_related = ("user", "actor")
    search_fields = ("user__username", "user__email", "client", "request_id")
    date_hierarchy = "created_at"
    ordering = ("-id",)
    show_full_result_count = False
