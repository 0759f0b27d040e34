"""The admin's view of accounts. What a service writes is shown and not edited here."""

import re
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin, UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy as _
from social_django.models import Association, Nonce, UserSocialAuth
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from config.api import context
from users import services
from users.errors import InvalidToken
from users.listing import ReadOnlyAdmin, StaffAdmin, either, people
from users.mail import ActivationEmail
from users.models import AuditEvent, OutgoingEmail, User

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


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


class NewUserForm(UserCreationForm):
    class Meta:
        model = User
        fields = ("email", "username")


class NewPasswordForm(AdminPasswordChangeForm):
    """What staff give somebody as a password is told to them as any new one is."""

    user: User

    @transaction.atomic
    def save(self, commit: bool = True) -> Any:
        try:
            self.user = services.lock_account(self.user)  # all of it is saved, and may have changed since it was read
        except InvalidToken:
            raise PermissionDenied from None
        user = super().save(commit)
        services.note_new_password(user, by=context.user_id.get())
        return user


@admin.register(User)
class UserAdmin(StaffAdmin, DjangoUserAdmin):
    """Accounts are closed by their owners and never deleted: what others have through them must stay."""

    actions = ("block", "unblock", "export")
    form = UserChangeForm
    add_form = NewUserForm
    change_password_form = NewPasswordForm
    list_display = ("username", "email", "email_verified_at", "registered_at", "is_active", "is_staff")
    list_filter = (StateFilter, "is_staff", ("email_verified_at", admin.EmptyFieldListFilter), "registered_at")
    search_fields = ("username", "email")
    search_help_text = _("A username, or how an address begins")
    sortable_by = ("registered_at",)
    ordering = ("-id",)
    readonly_fields = ("email", "email_verified_at", "registered_at", "closed_at")
    fieldsets = (
        (None, {"fields": ("username", "email", "password")}),
        (_("Dates"), {"fields": ("registered_at", "email_verified_at", "closed_at")}),
        (_("Settings"), {"fields": ("discoverable_by_email", "language", "is_active")}),
        (_("Rights"), {"fields": RIGHTS}),
    )
    add_fieldsets = ((None, {"fields": ("email", "username", "usable_password", "password1", "password2")}),)

    def find(self, term: str) -> QuerySet[Any]:
        return people(term)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return (*self.readonly_fields, *(() if request.user.is_superuser else RIGHTS))

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
        """Staff who are no superuser touch no other staff: a new password of theirs would give its rights away.

        What is left of a closed account stays as it is.
        """
        if obj is not None and obj.closed_at:
            return False
        if obj is not None and (obj.is_staff or obj.is_superuser) and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    @admin.action(description=_("Block"), permissions=["change"])
    def block(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._set_blocked(request, queryset, blocked=True)

    @admin.action(description=_("Unblock"), permissions=["change"])
    def unblock(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._set_blocked(request, queryset, blocked=False)

    def _set_blocked(self, request: HttpRequest, queryset: QuerySet[User], *, blocked: bool) -> None:
        """Those whom the form would let them block too, and not themselves: they would be locked out."""
        by = cast(User, request.user)
        chosen = [user for user in self.few(request, queryset) if self.has_change_permission(request, user)]
        changed = services.set_blocked([user for user in chosen if user != by], blocked=blocked, by=by)
        told = gettext("Blocked: %(count)d.") if blocked else gettext("Unblocked: %(count)d.")
        self.message_user(request, told % {"count": changed}, messages.SUCCESS if changed else messages.WARNING)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Who may do what. Only superusers give rights: who could change their own group would give themselves any."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    has_add_permission = has_delete_permission = has_change_permission


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

    actions = ("send_again", "export")
    list_display = ("created_at", "to", "subject", "tries", "next_try_at", "sent_at", "failed_at", "last_error")
    list_filter = (MailStateFilter, "created_at")
    search_fields = ("reader",)
    search_help_text = _("A username, or how an address begins")
    exclude = ("message",)

    def find(self, term: str) -> QuerySet[Any]:
        return either(OutgoingEmail.objects.filter(reader__in=list(people(term))))

    @admin.action(description=_("Send again (links may have run out)"), permissions=["act"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[OutgoingEmail]) -> None:
        again = services.send_again(self.few(request, queryset), by=cast(User, request.user))
        told = gettext("E-mails that are on their way again: %(count)d.") % {"count": again}
        self.message_user(request, told, messages.SUCCESS if again else messages.WARNING)


admin.site.unregister([Association, Nonce, UserSocialAuth])  # the first two hold what states are made of


@admin.register(UserSocialAuth)
class IdentityAdmin(ReadOnlyAdmin):
    """Who people are at their providers. A row added here would be a way into an account."""

    list_display = ("user", "provider", "uid", "created")
    list_filter = ("provider", "created")
    list_select_related = ("user",)
    search_fields = ("user", "uid")
    search_help_text = _("A username, how an address begins, or an id at a provider")
    exclude = ("extra_data",)

    def find(self, term: str) -> QuerySet[Any]:
        identities = UserSocialAuth.objects
        return either(identities.filter(user__in=list(people(term))), identities.filter(uid=term))


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    exclude = ("detail",)  # Unfold would show it with styles in the page
    readonly_fields = ("details",)
    linked_by = ("user",)
    list_display = ("created_at", "kind", "user", "actor", "client", "request_id")
    list_filter = ("kind", "created_at")
    list_select_related = ("user", "actor")
    search_fields = ("user", "actor", "client", "request_id")
    search_help_text = _("A username, how an address begins, a client, or a request")

    def find(self, term: str) -> QuerySet[Any]:
        """A client or a request is looked for row by row, but only if the term is one: 32 hex digits."""
        if re.fullmatch("[0-9a-f]{32}", term):
            return either(AuditEvent.objects.filter(Q(client=term) | Q(request_id=term)))
        found = list(people(term))
        return either(AuditEvent.objects.filter(user__in=found), AuditEvent.objects.filter(actor__in=found))

    @admin.display(description=_("detail"))
    def details(self, event: AuditEvent) -> str:
        return ", ".join(f"{name}: {value}" for name, value in sorted(event.detail.items()))
