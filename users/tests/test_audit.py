"""The audit trail: one row for each thing that matters, without a secret, and for good."""

from datetime import timedelta

import pytest
from django.core import serializers
from django.test import Client
from django.utils import timezone
from djoser.utils import encode_uid

from users import audit, services
from users.models import AuditEvent, TokenFamily, User
from users.providers import GitHub
from users.social import tell_of_a_new_link
from users.tests.factories import PASSWORD, make_user
from users.tokens import ACTIVATION, EMAIL_CHANGE, EMAIL_UNDO, PASSWORD_RESET

pytestmark = pytest.mark.django_db

NEW = "staple under the moon"


def events(user: User | None) -> list[str]:
    return list(AuditEvent.objects.filter(user=user).order_by("id").values_list("kind", flat=True))


def link(kind, user, *payload, **more):
    return {"uid": encode_uid(user.pk), "token": kind.make(user, *payload)} | more


def log_in(api, user, password=PASSWORD):
    return api.post("/auth/jwt/create/", {"email": user.email, "password": password})


def reuse(api, user):
    first = log_in(api, user).json()
    api.post("/auth/jwt/refresh/", {"refresh": first["refresh"]})
    TokenFamily.objects.update(rotated_at=timezone.now() - timedelta(seconds=11))
    AuditEvent.objects.all().delete()
    for _time in range(2):
        api.post("/auth/jwt/refresh/", {"refresh": first["refresh"]})


def log_out(api, user):
    refresh = log_in(api, user).json()["refresh"]
    AuditEvent.objects.all().delete()
    for _time in range(2):
        api.post("/auth/jwt/logout/", {"refresh": refresh})


def add_provider(user):
    tell_of_a_new_link(user, is_new=False, new_association=True, backend=GitHub())


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (lambda api, me, user: log_in(api, user), "signed_in"),
        (lambda api, me, user: log_in(api, user, "wrong"), "sign_in_failed"),
        (lambda api, me, user: reuse(api, user), "token_reused"),
        (lambda api, me, user: log_out(api, user), "signed_out"),
        (lambda api, me, user: me.post("/auth/jwt/logout_all/"), "signed_out_everywhere"),
        (lambda api, me, user: api.post("/auth/users/activation/", link(ACTIVATION, user)), "email_verified"),
        (
            lambda api, me, user: me.post(
                "/auth/users/set_email/", {"new_email": "n@x.io", "current_password": PASSWORD}
            ),
            "email_change_asked",
        ),
        (
            lambda api, me, user: api.post("/auth/users/set_email_confirm/", link(EMAIL_CHANGE, user, "n@x.io")),
            "email_changed",
        ),
        (
            lambda api, me, user: me.post(
                "/auth/users/set_password/", {"new_password": NEW, "current_password": PASSWORD}
            ),
            "password_changed",
        ),
        (
            lambda api, me, user: api.post(
                "/auth/users/reset_password_confirm/", link(PASSWORD_RESET, user, new_password=NEW)
            ),
            "password_reset",
        ),
        (lambda api, me, user: api.post("/auth/users/keep_email/", link(EMAIL_UNDO, user, user.email)), "email_kept"),
        (lambda api, me, user: me.delete("/auth/users/me/", {"current_password": "wrong"}), "sign_in_failed"),
        (lambda api, me, user: add_provider(user), "provider_added"),
        (lambda api, me, user: me.get("/auth/users/me/export/"), "data_exported"),
        (lambda api, me, user: me.delete("/auth/users/me/", {"current_password": PASSWORD}), "account_closed"),
    ],
)
def test_what_happens_to_an_account_is_written_down_once(api, as_user, what, kind):
    """U20"""
    user, other = make_user(), make_user()
    what(api, as_user(user), user)
    assert events(user) == [kind]
    assert events(other) == []
    written = serializers.serialize("json", AuditEvent.objects.all())
    assert not [secret for secret in (PASSWORD, NEW, "eyJ", "@", "127.0.0.1") if secret in written]


def test_what_is_refused_is_not_written_down_as_done(api, as_user):
    """U20"""
    user = make_user()
    as_user(user).post("/auth/users/set_password/", {"new_password": "short", "current_password": PASSWORD})
    as_user(user).delete("/auth/users/me/", {"current_password": "wrong"})
    api.post("/auth/users/activation/", {"uid": encode_uid(user.pk), "token": "wrong"})
    assert not set(events(user)) - {"sign_in_failed"}


def test_a_failure_to_sign_in_to_nobody_is_written_down_too(api):
    """U20, N1"""
    api.post("/auth/jwt/create/", {"email": "nobody@example.com", "password": PASSWORD})
    assert events(None) == ["sign_in_failed"]


def test_staff_who_block_and_unblock_are_named(client):
    """U20"""
    boss, user = make_user(is_staff=True, is_superuser=True), make_user()
    client.force_login(boss)
    form = {"username": user.username, "language": "en"}
    for state in ({}, {"is_active": "on"}):
        assert client.post(f"/admin/users/user/{user.pk}/change/", form | state).status_code == 302
    rows = AuditEvent.objects.filter(user=user).order_by("id")
    assert [(row.kind, row.actor) for row in rows] == [("blocked", boss), ("unblocked", boss)]


def test_a_password_that_staff_give_is_written_down_and_told(client, mailbox):
    """U18, U20"""
    boss, user = make_user(is_staff=True, is_superuser=True), make_user()
    client.force_login(boss)
    form = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    assert client.post(f"/admin/users/user/{user.pk}/password/", form).status_code == 302
    assert events(user) == ["password_changed"]
    form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert client.post("/admin/password_change/", form).status_code == 302
    assert events(boss) == ["password_changed"]
    assert [message.to for message in mailbox()] == [[user.email], [boss.email]]
    assert client.get("/admin/").status_code == 200  # who changes their own stays signed in


def test_an_event_tells_its_request_and_its_client_apart_from_others(api):
    user = make_user()
    for address in ("203.0.113.7", "203.0.113.7", "203.0.113.8"):
        response = api.post("/auth/jwt/create/", {"email": user.email, "password": "x"}, REMOTE_ADDR=address)
    rows = AuditEvent.objects.filter(user=user).order_by("id")
    assert rows[2].request_id == response["X-Request-ID"]
    assert rows[0].client == rows[1].client != rows[2].client


def test_a_row_is_never_changed(admin_client):
    """U20"""
    audit.record(AuditEvent.Kind.SIGNED_IN, make_user())
    row = AuditEvent.objects.get()
    for change in (row.save, row.delete):
        with pytest.raises(TypeError):
            change()
    path = f"/admin/users/auditevent/{row.pk}"
    assert admin_client.get(f"{path}/change/").status_code == 200
    for refused in (f"{path}/delete/", "/admin/users/auditevent/add/"):
        assert admin_client.get(refused).status_code == 403
    assert admin_client.post(f"{path}/change/", {"kind": "signed_out"}).status_code == 403


def test_what_ends_all_tokens_ends_the_sessions_of_the_admin_and_none_comes_back(as_user):
    """U8, U9, U11"""
    boss = make_user(is_staff=True, is_superuser=True)
    browser, client = Client(), as_user(boss)
    browser.force_login(boss)
    assert browser.get("/admin/").status_code == 200
    assert client.post("/auth/jwt/logout_all/").status_code == 204
    assert browser.get("/admin/").status_code == 302
    assert client.get("/auth/users/me/").status_code == 401
    assert not TokenFamily.objects.exists()


def test_a_token_from_before_a_block_does_not_come_back_with_the_account(as_user):
    """U8, Z6"""
    boss, user = make_user(is_staff=True, is_superuser=True), make_user()
    client = as_user(user)
    for blocked in (True, False):
        User.objects.filter(pk=user.pk).update(is_active=not blocked)
        services.note_block(user, blocked=blocked, by=boss)
        assert client.get("/auth/users/me/").status_code == 401


def test_a_password_that_staff_switch_off_ends_every_token(client, as_user):
    """U9"""
    boss, user = make_user(is_staff=True, is_superuser=True), make_user()
    signed_in = as_user(user)
    client.force_login(boss)
    form = {"usable_password": "false", "unset-password": "1"}
    assert client.post(f"/admin/users/user/{user.pk}/password/", form).status_code == 302
    assert not User.objects.get(pk=user.pk).has_usable_password()
    assert signed_in.get("/auth/users/me/").status_code == 401
    assert events(user) == ["password_changed"]
