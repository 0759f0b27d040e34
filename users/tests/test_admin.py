"""The admin of accounts and mail: what staff see, what they may change, and what nobody changes there."""

from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from social_django.models import UserSocialAuth

from users import services
from users.admin import NewPasswordForm
from users.models import AuditEvent, OutgoingEmail, User
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

USERS, MAILS, EVENTS = "/admin/users/user/", "/admin/users/outgoingemail/", "/admin/users/auditevent/"
IDENTITIES, GROUPS = "/admin/social_django/usersocialauth/", "/admin/auth/group/"
DAY = timedelta(days=1)
NEW_PASSWORD = "staple under the moon"


@pytest.fixture
def boss(client) -> Client:
    """A browser in which a superuser is signed in."""
    client.force_login(make_user(username="boss", email="boss@example.org", is_staff=True, is_superuser=True))
    return client


def staff_with(*rights: str) -> tuple[Client, User]:
    """A browser in which somebody of the staff is signed in, and who that is."""
    user, client = make_user(is_staff=True), Client()
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client.force_login(user)
    return client, user


def make_mail(to: str = "bob@example.com", subject: str = "Hello") -> OutgoingEmail:
    mail.send_mail(subject, "The secret link is /account/x", None, [to])
    return OutgoingEmail.objects.latest("id")


def make_event() -> AuditEvent:
    return AuditEvent.objects.create(kind="signed_in", user=make_user(), client="ab" * 16, request_id="cd" * 16)


def make_identity() -> UserSocialAuth:
    user = make_user()
    return UserSocialAuth.objects.create(user=user, provider="oidc", uid=f"uid-{user.pk}")


def page(browser: Client, path: str, **query: str) -> str:
    response = browser.get(path, query)
    assert response.status_code == 200
    return response.content.decode()


def form_of(user: User, **changes: object) -> dict[str, object]:
    """What a browser sends for the form of an account."""
    form = {"username": user.username, "language": user.language, "is_active": "on", "discoverable_by_email": "on"}
    return {name: value for name, value in (form | changes).items() if value is not None}


def test_every_page_opens_for_a_superuser(boss):
    user, row = make_user(), make_mail()
    closed = make_user()
    services.close_account(closed)
    paths = [
        "/admin/",
        USERS,
        f"{USERS}add/",
        MAILS,
        "/admin/social_django/usersocialauth/",
        f"{MAILS}{row.pk}/change/",
        "/admin/auth/group/",
    ]
    paths += [f"{USERS}{user.pk}/{name}/" for name in ("change", "password", "history")]
    paths += [f"{USERS}{closed.pk}/{name}/" for name in ("change", "history")]
    for path in paths:
        assert page(boss, path)


@pytest.mark.parametrize(
    ("path", "make", "query"),
    [
        (USERS, make_user, {}),
        (USERS, make_user, {"q": "user", "state": "active"}),
        (MAILS, make_mail, {}),
        (MAILS, make_mail, {"q": "bob", "state": "waiting"}),
        (EVENTS, make_event, {}),
        (EVENTS, make_event, {"q": "user"}),
        (IDENTITIES, make_identity, {}),
        (IDENTITIES, make_identity, {"q": "user"}),
    ],
)
def test_a_list_takes_as_many_queries_for_one_row_as_for_fifty_and_fewer_than_ten(boss, path, make, query):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            page(boss, path, **query)
        return len(seen)

    make()
    queries()  # what is cached for good is cached now
    few = queries()
    for _row in range(50):
        make()
    assert queries() == few < 10


def test_accounts_are_found_by_name_address_and_state(boss):
    blocked = make_user(username="Grace", email="grace@example.com", is_active=False)
    verified = make_user(username="ada", email="ada@example.com", email_verified_at=timezone.now())
    closed = make_user(username="gone")
    services.close_account(closed)
    User.objects.filter(pk=closed.pk).update(username="closed-x")
    everyone = {"boss", "Grace", "ada", "closed-x"}
    for query, found in [
        ({}, everyone),
        ({"q": "GRACE"}, {"Grace"}),
        ({"q": "ADA@Example.com"}, {"ada"}),
        ({"q": " ada@ex"}, {"ada"}),
        ({"q": "example.com"}, set()),
        ({"q": "ad"}, {"ada"}),
        ({"q": "nobody"}, set()),
        ({"state": "active"}, {"boss", "ada"}),
        ({"state": "blocked"}, {"Grace"}),
        ({"state": "closed"}, {"closed-x"}),
        ({"state": "nonsense"}, everyone),
        ({"is_staff__exact": "1"}, {"boss"}),
        ({"email_verified_at__isempty": "0"}, {"ada"}),
    ]:
        rows = boss.get(USERS, query).context["cl"].queryset
        assert {user.username for user in rows} == found, query
    assert {blocked.pk, verified.pk} < {user.pk for user in boss.get(USERS).context["cl"].queryset}


def test_mail_is_found_by_reader_subject_and_state(boss):
    for name, subject in (("bob", "Hello"), ("eve", "Goodbye"), ("dan", "Adieu")):
        mail_to = make_mail(f"{name}@example.com", subject)
        OutgoingEmail.objects.filter(pk=mail_to.pk).update(reader=make_user(email=mail_to.to, username=name))
    OutgoingEmail.objects.filter(subject="Hello").update(sent_at=timezone.now())
    OutgoingEmail.objects.filter(subject="Adieu").update(failed_at=timezone.now())
    for query, found in [
        ({"q": "eve@example"}, {"Goodbye"}),
        ({"q": "BOB"}, {"Hello"}),
        ({"q": "Hello"}, set()),
        ({"state": "waiting"}, {"Goodbye"}),
        ({"state": "sent"}, {"Hello"}),
        ({"state": "failed"}, {"Adieu"}),
        ({"state": "nonsense"}, {"Hello", "Goodbye", "Adieu"}),
    ]:
        assert {row.subject for row in boss.get(MAILS, query).context["cl"].queryset} == found, query


def test_events_are_found_by_person_client_request_and_kind(boss):
    event, other = make_event(), make_event()
    AuditEvent.objects.filter(pk=other.pk).update(kind="blocked", client="", request_id="", actor=event.user)
    for query, found in [
        ({"q": event.user.username}, {event, other}),
        ({"q": other.user.email}, {other}),
        ({"q": event.client}, {event}),
        ({"q": event.request_id}, {event}),
        ({"kind__exact": "blocked"}, {other}),
        ({"user": str(event.user.pk)}, {event}),
    ]:
        assert set(boss.get(EVENTS, query).context["cl"].queryset) == found, query


def test_an_event_is_shown_with_its_details_as_text(boss):
    event = make_event()
    AuditEvent.objects.filter(pk=event.pk).update(detail={"mail": "7", "code": "<b>"})
    shown = page(boss, f"{EVENTS}{event.pk}/change/")
    assert "code: &lt;b&gt;, mail: 7" in shown
    assert "style=" not in shown


def test_no_list_counts_all_its_rows(boss):
    for path in (USERS, MAILS, EVENTS, IDENTITIES):
        assert "_facets" not in page(boss, path)
        with CaptureQueriesContext(connection) as seen:
            page(boss, path, _facets="True")
        assert not [query for query in seen if "COUNT(" in query["sql"] and "LIMIT" not in query["sql"]], path


def test_identities_are_found_by_person_and_by_id(boss):
    identity, other = make_identity(), make_identity()
    for term, found in [(identity.user.email, {identity}), (other.uid, {other}), ("uid", set())]:
        assert set(boss.get(IDENTITIES, {"q": term}).context["cl"].queryset) == found, term


def test_the_text_of_a_mail_stays_out_of_sight(boss):
    """S3, Z7: it may hold a link that lets someone in, and a search would give it away letter by letter."""
    row = make_mail()
    for path in (MAILS, f"{MAILS}{row.pk}/change/"):
        assert "secret link" not in page(boss, path)
    for lookup in ("message__icontains", "message__body__startswith", "message"):
        assert boss.get(MAILS, {lookup: "x"}).status_code == 400
    for lookup in ("password__startswith", "token_families__current__startswith"):
        assert boss.get(USERS, {lookup: "x"}).status_code == 400


def test_the_hash_of_a_password_stays_out_of_sight(boss):
    user = make_user()
    viewer, _user = staff_with("view_user")
    for browser in (boss, viewer):
        assert user.password.split("$")[-1] not in page(browser, f"{USERS}{user.pk}/change/")


def test_mail_is_looked_at_and_never_touched(boss):
    row = make_mail()
    for path in (f"{MAILS}add/", f"{MAILS}{row.pk}/change/", f"{MAILS}{row.pk}/delete/"):
        assert boss.post(path, {"to": "eve@x.io", "post": "yes"}).status_code == 403
    boss.post(MAILS, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert OutgoingEmail.objects.get().to == "bob@example.com"


def send_again(browser: Client, *rows: OutgoingEmail) -> HttpResponse:
    return browser.post(MAILS, {"action": "send_again", "_selected_action": [row.pk for row in rows]}, follow=True)


def test_staff_with_the_right_send_again_what_was_given_up_and_that_is_written_down(mailbox):
    """F8, U20"""
    browser, staff = staff_with("view_outgoingemail", "change_outgoingemail")
    reader, now = make_user(), timezone.now()
    failed, waiting, sent = make_mail("a@x.io"), make_mail("b@x.io"), make_mail("c@x.io")
    OutgoingEmail.objects.filter(pk=failed.pk).update(failed_at=now, tries=20, reader=reader, next_try_at=now + DAY)
    OutgoingEmail.objects.filter(pk=waiting.pk).update(tries=3, next_try_at=now + DAY)
    OutgoingEmail.objects.filter(pk=sent.pk).update(sent_at=now, message={})
    assert "Send again (links may have run out)" in page(browser, MAILS)
    assert "E-mails that are on their way again: 1." in send_again(browser, failed, waiting, sent).content.decode()
    event = AuditEvent.objects.get()
    assert (event.kind, event.user, event.actor) == ("mail_sent_again", reader, staff)
    assert event.detail == {"mail": str(failed.pk)}
    assert [message.to for message in mailbox()] == [["a@x.io"]]
    for row in (failed, waiting):
        row.refresh_from_db()
    assert (failed.tries, failed.failed_at, bool(failed.sent_at)) == (1, None, True)
    assert (waiting.tries, waiting.next_try_at) == (3, now + DAY)
    assert "E-mails that are on their way again: 0." in send_again(browser, failed, waiting, sent).content.decode()
    assert AuditEvent.objects.count() == 1


def test_staff_without_the_right_see_mail_and_send_none_again():
    """Z5"""
    browser, _staff = staff_with("view_outgoingemail")
    row = make_mail()
    OutgoingEmail.objects.update(failed_at=timezone.now())
    assert "send_again" not in page(browser, MAILS)
    send_again(browser, row)
    assert OutgoingEmail.objects.get().failed_at
    assert not AuditEvent.objects.exists()


def test_accounts_are_never_deleted(boss):
    user = make_user()
    assert boss.post(f"{USERS}{user.pk}/delete/", {"post": "yes"}).status_code == 403
    boss.post(USERS, {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"})
    assert User.objects.filter(pk=user.pk).exists()


def test_what_a_service_writes_is_not_edited(boss):
    """B14, U15"""
    user = make_user(email="bob@example.com")
    written = {
        "email": "eve@x.io",
        "email_verified_at_0": "2030-01-01",
        "email_verified_at_1": "10:00",
        "password": "x",
    }
    response = boss.post(f"{USERS}{user.pk}/change/", form_of(user, username="Bob", **written, token_version="7"))
    assert response.status_code == 302
    before, after = user, User.objects.get(pk=user.pk)
    assert (after.username, after.email, after.email_verified_at) == ("Bob", "bob@example.com", None)
    assert (after.password, after.token_version) == (before.password, 0)


def test_who_is_blocked_is_out_with_their_next_request(boss, as_user):
    """Z6, U8"""
    user = make_user()
    client = as_user(user)
    assert boss.post(f"{USERS}{user.pk}/change/", form_of(user, is_active=None)).status_code == 302
    assert client.get("/auth/users/me/").status_code == 401


@pytest.mark.parametrize(
    ("password", "taken"),
    [
        ("password1", False),
        ("ada@example.com", False),
        ("Horses of Lovelace", False),
        ("1f9.Kq7", False),
        ("x9" * 65, False),
        (NEW_PASSWORD, True),
    ],
)
def test_a_person_can_be_added_with_a_good_password(boss, api, password, taken):
    """U1, U2, Z8"""
    form = {"email": "ADA@example.com", "username": "lovelace", "usable_password": "true"}
    form |= {"password1": password, "password2": password, "is_staff": "on", "is_superuser": "on"}
    assert boss.post(f"{USERS}add/", form).status_code == (302 if taken else 200)
    assert list(User.objects.filter(email="ada@example.com").values_list("is_staff", "is_superuser")) == (
        [(False, False)] if taken else []
    )
    login = api.post("/auth/jwt/create/", {"email": "ada@example.com", "password": password})
    assert (login.status_code == 200) is taken


@pytest.mark.parametrize(
    "form",
    [{"email": "BOB@example.com"}, {"email": "bob@localhost"}, {"email": ""}, {"username": "BOB"}, {"username": "-"}],
)
def test_a_person_is_added_once_and_with_a_good_name(boss, form):
    """B10, C1"""
    make_user(email="bob@example.com", username="Bob")
    passwords = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    assert boss.post(f"{USERS}add/", {"email": "a@x.io", "username": "ada"} | form | passwords).status_code == 200
    assert User.objects.count() == 2


@pytest.mark.parametrize(
    ("password", "taken"),
    [("password1", False), ("Horses of Lovelace", False), ("x9" * 65, False), (NEW_PASSWORD, True)],
)
def test_a_password_set_by_staff_keeps_the_rules_and_ends_every_login(boss, as_user, password, taken):
    """U1, U2, U9"""
    user = make_user(username="lovelace")
    client = as_user(user)
    form = {"usable_password": "true", "password1": password, "password2": password}
    assert boss.post(f"{USERS}{user.pk}/password/", form).status_code == (302 if taken else 200)
    assert client.get("/auth/users/me/").status_code == (401 if taken else 200)
    user.refresh_from_db()
    assert user.check_password(password) is taken


def test_a_password_set_by_staff_writes_nothing_else_and_brings_no_closed_account_back():
    """P2: what the form shows was read before others wrote."""
    user = make_user()
    typed = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    early, late = NewPasswordForm(User.objects.get(), typed), NewPasswordForm(User.objects.get(), typed)
    assert early.is_valid()
    assert late.is_valid()
    User.objects.update(language="ru")
    early.save()
    user.refresh_from_db()
    assert (user.language, user.token_version, user.check_password(NEW_PASSWORD)) == ("ru", 1, True)
    services.close_account(user)
    with pytest.raises(PermissionDenied):
        late.save()
    user.refresh_from_db()
    assert (user.email, user.closed_at is None, user.is_active) == (None, False, False)


def test_a_new_password_of_ones_own_writes_nothing_else(boss, mailbox, monkeypatch):
    """Others write while it is asked for; who reads the mailbox of now is told."""
    meanwhile = {"language": "ru", "email": "moved@example.org"}
    monkeypatch.setattr("users.limits.password_was_right", lambda attempt: None)
    monkeypatch.setattr("users.limits.password_try", lambda *who: User.objects.update(**meanwhile))
    form = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    assert boss.post("/admin/password_change/", form).status_code == 302
    user = User.objects.get()
    assert (user.language, user.check_password(NEW_PASSWORD)) == ("ru", True)
    assert [message.to for message in mailbox()] == [["moved@example.org"]]


def test_a_password_set_by_staff_is_written_down_with_the_name_of_who_did():
    """U20"""
    browser, staff = staff_with("view_user", "change_user")
    user = make_user()
    form = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert browser.post(f"{USERS}{user.pk}/password/", form).status_code == 302
    rows = AuditEvent.objects.values_list("kind", "user", "actor")
    assert list(rows) == [("password_changed", user.pk, staff.pk)]


def test_staff_raise_nobodys_rights_their_own_least_of_all():
    """Z8"""
    browser, staff = staff_with("view_user", "add_user", "change_user")
    user = make_user()
    right = Permission.objects.get(codename="delete_user").pk
    more = {"is_staff": "on", "is_superuser": "on", "user_permissions": [right]}
    assert browser.post(f"{USERS}{staff.pk}/change/", form_of(staff, **more)).status_code == 403
    assert browser.post(f"{USERS}{user.pk}/change/", form_of(user, username="Renamed", **more)).status_code == 302
    passwords = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    new = {"email": "new@example.com", "username": "new"} | passwords | more
    assert browser.post(f"{USERS}add/", new).status_code == 302
    assert User.objects.get(pk=user.pk).username == "Renamed"
    for other in User.objects.exclude(pk=staff.pk):
        assert not any([other.is_staff, other.is_superuser, other.user_permissions.exists()])
    staff.refresh_from_db()
    assert not staff.is_superuser
    assert staff.user_permissions.count() == 3


def test_staff_give_their_group_no_rights():
    """Z8: whatever rights they have over groups."""
    browser, staff = staff_with("view_group", "add_group", "change_group", "delete_group")
    group = Group.objects.create(name="Mine")
    staff.groups.add(group)
    rights = {"name": "Mine", "permissions": [Permission.objects.get(codename="change_user").pk]}
    for path in (f"{GROUPS}{group.pk}/change/", f"{GROUPS}add/", f"{GROUPS}{group.pk}/delete/"):
        assert browser.post(path, rights | {"post": "yes"}).status_code == 403
    assert browser.post(GROUPS, {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"})
    assert not Group.objects.get(pk=group.pk).permissions.exists()
    assert page(browser, f"{GROUPS}{group.pk}/change/")


def test_a_superuser_gives_a_group_rights(boss):
    right = Permission.objects.get(codename="change_user")
    assert boss.post(f"{GROUPS}add/", {"name": "Ours", "permissions": [right.pk]}).status_code == 302
    assert list(Group.objects.get(name="Ours").permissions.all()) == [right]


def test_what_is_left_of_a_closed_account_stays_as_it_is(boss):
    """P2: nobody gives it a name, a password or rights again."""
    closed = make_user()
    services.close_account(closed)
    before = User.objects.filter(pk=closed.pk).values().get()
    passwords = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    for browser in (boss, staff_with("view_user", "change_user")[0]):
        form = form_of(closed, username="again", is_staff="on", is_superuser="on")
        assert browser.post(f"{USERS}{closed.pk}/change/", form).status_code == 403
        assert browser.post(f"{USERS}{closed.pk}/password/", passwords).status_code == 403
    assert User.objects.filter(pk=closed.pk).values().get() == before
    assert not OutgoingEmail.objects.exists()


@pytest.mark.parametrize("number", ["9" * 19, "9" * 400, "-1", "1.5", "abc", "", "٣"])
def test_a_link_by_a_number_that_is_none_is_refused(boss, number):
    """G1"""
    assert boss.get(EVENTS, {"user": number}).status_code == 400
    assert boss.get(EVENTS, {"user": "9" * 18}).status_code == 200


@pytest.mark.parametrize(
    "rights", [{"is_staff": True}, {"is_superuser": True}, {"is_staff": True, "is_superuser": True}]
)
def test_staff_get_nowhere_near_the_password_of_who_has_more_rights(rights):
    """Z8"""
    browser, staff = staff_with("view_user", "change_user")
    for target in (make_user(**rights), staff):
        form = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        assert browser.post(f"{USERS}{target.pk}/password/", form).status_code == 403
        assert browser.post(f"{USERS}{target.pk}/change/", form_of(target, is_active=None)).status_code == 403
        target.refresh_from_db()
        assert target.check_password(PASSWORD)
        assert target.is_active


@pytest.mark.parametrize("path", [USERS, f"{USERS}add/", MAILS, "/admin/auth/group/"])
def test_without_a_right_staff_see_nothing(path):
    """Z5"""
    browser, _staff = staff_with()
    assert browser.get(path).status_code == 403


def test_rights_that_are_taken_away_are_gone_with_the_next_request():
    """Z6"""
    browser, staff = staff_with("view_user")
    assert browser.get(USERS).status_code == 200
    staff.user_permissions.clear()
    assert browser.get(USERS).status_code == 403
    User.objects.filter(pk=staff.pk).update(is_staff=False)
    assert browser.get(USERS).status_code == 302


@pytest.mark.parametrize(
    ("fields", "let_in"), [({"is_staff": True}, True), ({}, False), ({"is_staff": True, "is_active": False}, False)]
)
@pytest.mark.parametrize("name", ["ADA@example.com", "ada"])
def test_staff_sign_in_by_address_or_username_and_others_do_not(client, fields, let_in, name):
    """U4, U5"""
    make_user(email="ada@example.com", username="Ada", **fields)
    client.post("/admin/login/", {"username": name, "password": PASSWORD})
    assert ("_auth_user_id" in client.session) is let_in


@pytest.mark.parametrize("password", ["password1", "1f9.Kq7", "Mail for Lovelace", "x9" * 65])
def test_a_superuser_who_is_asked_for_a_password_is_told_when_it_is_weak(monkeypatch, password):
    """U1, U2: the address is known by then."""
    typed = iter([password, password, NEW_PASSWORD, NEW_PASSWORD])
    monkeypatch.setattr("getpass.getpass", lambda *prompt: next(typed))
    monkeypatch.setattr("builtins.input", lambda question: "n" if "Bypass" in question else "")
    terminal, told = SimpleNamespace(isatty=lambda: True), StringIO()
    call_command("createsuperuser", email="Lovelace@example.com", stdin=terminal, stderr=told, verbosity=0)
    assert told.getvalue()
    assert User.objects.get(email="lovelace@example.com").check_password(NEW_PASSWORD)


def test_a_superuser_is_made_by_one_command_without_a_question(client, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", NEW_PASSWORD)
    call_command("createsuperuser", "--noinput", "--email", "Root@Example.com", verbosity=0)
    root = User.objects.get(email="root@example.com")
    assert (root.is_staff, root.is_superuser, root.is_active) == (True, True, True)
    client.post("/admin/login/", {"username": "root@example.com", "password": NEW_PASSWORD})
    assert page(client, USERS)


@pytest.mark.parametrize("password", ["password1", "Mail for root", "x9" * 65])
def test_a_superuser_made_without_a_question_needs_a_good_password_too(monkeypatch, password):
    """U2"""
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", password)
    with pytest.raises(CommandError):
        call_command("createsuperuser", "--noinput", "--email", "root@example.com", verbosity=0)
    assert not User.objects.exists()


def test_a_form_writes_what_was_changed_in_it_and_no_more(boss):
    """U8, C12: what changed in the account since the form was opened stays, a new password for one."""
    user = make_user()
    with CaptureQueriesContext(connection) as captured:
        boss.post(f"{USERS}{user.pk}/change/", form_of(user, language="ru"))
    [update] = [query["sql"] for query in captured if query["sql"].startswith('UPDATE "users_user"')]
    assert '"language"' in update
    assert not [name for name in ("password", "token_version", "email") if f'"{name}"' in update]
    assert User.objects.get(pk=user.pk).language == "ru"


@pytest.mark.parametrize(
    "query", ["email__regex=(", "token_version__range=1", "password__startswith=a", "username__regex=x"]
)
def test_the_address_of_a_list_filters_by_what_the_list_offers_and_nothing_else(boss, query):
    """Z7, G1"""
    assert boss.get(f"{USERS}?{query}").status_code == 400
    assert boss.get(f"{USERS}?state=active&is_staff__exact=0&registered_at__year=2026").status_code == 200


def test_the_menu_names_what_a_package_brought_for_people(admin_client):
    page = admin_client.get("/admin/", headers={"Accept-Language": "ru"}).text
    assert "Входы через провайдеров" in page
    assert "auths" not in page
