"""Who may do what: one row an operation, one column a role. What has no row here fails."""

from contextlib import nullcontext
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from config.tests.operations import OPERATIONS, Operation, call_of, make_world, nothing_stored
from referrals.tests.factories import make_code, make_referral
from users.models import User
from users.services import close_account, set_password
from users.tests.factories import make_user
from users.tokens import RefreshToken

pytestmark = pytest.mark.django_db

# Paths name Ada, who is the owner; all else is about whoever asks. A stale token is no hindrance where none is needed.
ROLES = ["anonymous", "expired", "blocked", "unverified", "owner", "other", "staff", "viewer", "superuser"]
TABLE = """
                                              anonymous expired blocked unverified owner other staff viewer superuser
POST   /auth/users/                           201       201     201     201        201   201   201   201    201
GET    /auth/users/me/                        401       401     401     200        200   200   200   200    200
PATCH  /auth/users/me/                        401       401     401     200        200   200   200   200    200
DELETE /auth/users/me/                        401       401     401     204        204   204   204   204    204
GET    /auth/users/me/export/                 401       401     401     200        200   200   200   200    200
POST   /auth/users/activation/                204       204     400     204        204   204   204   204    204
POST   /auth/users/resend_activation/         204       204     204     204        204   204   204   204    204
POST   /auth/users/set_password/              401       401     401     204        204   204   204   204    204
POST   /auth/users/reset_password/            204       204     204     204        204   204   204   204    204
POST   /auth/users/reset_password_confirm/    204       204     400     204        204   204   204   204    204
POST   /auth/users/set_email/                 401       401     401     204        204   204   204   204    204
POST   /auth/users/set_email_confirm/         204       204     400     204        204   204   204   204    204
POST   /auth/users/keep_email/                204       204     400     204        204   204   204   204    204
POST   /auth/jwt/create/                      200       200     401     200        200   200   200   200    200
POST   /auth/jwt/refresh/                     200       200     401     200        200   200   200   200    200
POST   /auth/jwt/verify/                      200       200     401     200        200   200   200   200    200
POST   /auth/jwt/logout/                      204       204     204     204        204   204   204   204    204
POST   /auth/jwt/logout_all/                  401       401     401     204        204   204   204   204    204
GET    /auth/o/                               200       200     200     200        200   200   200   200    200
GET    /auth/o/{provider}/                    200       401     401     200        200   200   200   200    200
POST   /auth/o/{provider}/                    201       401     401     201        201   201   201   201    201
POST   /api/referral-code/                    401       401     401     201        201   201   201   201    201
GET    /api/referral-code/                    401       401     401     200        200   200   200   200    200
DELETE /api/referral-code/                    401       401     401     204        204   204   204   204    204
GET    /api/referral-code/email/              401       401     401     200        200   200   200   200    200
POST   /api/referral-code/email/              401       401     401     200        200   200   200   200    200
GET    /api/referral-code/qr/                 401       401     401     200        200   200   200   200    200
GET    /api/referral-code/{code}/             200       200     200     200        200   200   200   200    200
POST   /api/register-with-referral/           201       201     201     201        201   201   201   201    201
POST   /api/referrals/claim/                  401       401     401     201        201   201   201   201    201
GET    /api/referrals/{id}/                   401       401     401     200        200   403   403   200    200
GET    /api/referrals/{id}/summary/           401       401     401     200        200   403   403   200    200
"""
ADMIN = """
                                              anonymous expired blocked unverified owner other staff viewer superuser
GET    /admin/                                302       302     302     302        302   302   200   200    200
GET    /admin/referrals/referral/             302       302     302     302        302   302   403   200    200
GET    /admin/referrals/referralcode/         302       302     302     302        302   302   403   403    200
GET    /admin/users/user/                     302       302     302     302        302   302   403   403    200
GET    /admin/users/user/add/                 302       302     302     302        302   302   403   403    200
GET    /admin/users/outgoingemail/            302       302     302     302        302   302   403   403    200
GET    /admin/users/auditevent/                302       302     302     302        302   302   403   403    200
GET    /admin/social_django/usersocialauth/   302       302     302     302        302   302   403   403    200
GET    /admin/social_django/usersocialauth/add/ 302     302     302     302        302   302   403   403    403
GET    /admin/social_django/nonce/            302       302     302     302        302   302   404   404    404
GET    /admin/auth/group/                     302       302     302     302        302   302   403   403    200
GET    /admin/referrals/referral/add/         302       302     302     302        302   302   403   403    403
"""


def read_table(text):
    """The rows of a table, as {operation: {role: status}}."""
    header, *rows = [line.split() for line in text.strip().splitlines()]
    assert header == ROLES
    return {f"{method} {path}": dict(zip(ROLES, map(int, statuses), strict=True)) for method, path, *statuses in rows}


def without_a_row(operations, table):
    """Operations that have no row, and rows that have no operation."""
    return {str(operation) for operation in operations} ^ table.keys()


def may_view():
    return Permission.objects.get(content_type__app_label="referrals", codename="view_referral")


def someone(role, world):
    """The user of a role. Whoever is no guest has a code, so that no call fails for want of one."""
    if role in ("anonymous", "expired", "owner", "unverified"):
        verified_at = None if role == "unverified" else timezone.now()
        User.objects.filter(pk=world.ada.pk).update(email_verified_at=verified_at)
        return User.objects.get(pk=world.ada.pk)
    user = make_user(is_staff=role in ("staff", "viewer", "superuser"), is_superuser=role == "superuser")
    make_code(user)
    if role == "viewer":
        user.user_permissions.add(may_view())
    if role == "blocked":
        user.is_active = False
        user.save(update_fields=["is_active"])
    return user


def token_of(user, age=timedelta(0)):
    with patch("rest_framework_simplejwt.tokens.aware_utcnow", return_value=timezone.now() - age):
        return str(RefreshToken.for_user(user).access_token)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_an_operation_answers_a_role_as_the_table_says(operation, role, api):
    """Z1"""
    expected = read_table(TABLE)[str(operation)][role]
    world = make_world()
    user = someone(role, world)
    if role != "anonymous":
        token = token_of(user, age=timedelta(minutes=16 if role == "expired" else 4))
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    call = call_of(operation, world, api, who=user)
    with nullcontext() if expected < 400 else nothing_stored():
        assert call.send().status_code == expected


@pytest.mark.parametrize("role", ROLES)
def test_the_admin_answers_a_role_as_the_table_says(role, client):
    """Z1, Z5"""
    user = someone(role, make_world())
    if role not in ("anonymous", "expired"):
        client.force_login(user)
    for name, row in read_table(ADMIN).items():
        method, path = name.split()
        assert client.generic(method, path).status_code == row[role], name


def test_a_token_of_the_api_opens_no_page_of_the_admin_and_a_login_there_no_call(api):
    boss = make_user(is_staff=True, is_superuser=True)
    assert api.get("/admin/", HTTP_AUTHORIZATION=f"Bearer {token_of(boss)}").status_code == 302
    api.force_login(boss)
    assert api.get("/admin/").status_code == 200
    for operation in OPERATIONS:
        if operation.signed_in:
            assert (
                api.generic(operation.method, operation.path.format(id=boss.pk, provider="github")).status_code == 401
            ), operation


def test_every_operation_has_a_row():
    """Z1"""
    assert without_a_row(OPERATIONS, read_table(TABLE)) == set()


def test_an_operation_without_a_row_is_seen():
    """The check of the check: a new operation fails, and so does a row that has lost its own."""
    table = read_table(TABLE)
    new = Operation("POST", "/api/new/", {"security": []})
    assert without_a_row([*OPERATIONS, new], table) == {"POST /api/new/"}
    assert without_a_row(OPERATIONS[1:], table) == {str(OPERATIONS[0])}
    with pytest.raises(ValueError, match="zip"):
        read_table(f"{TABLE}GET /api/new/ 200 200\n")


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if "{id}" in o.path], ids=str)
def test_an_id_of_another_is_answered_to_the_byte_as_one_of_nobody(operation, as_user):
    """Z2, N6"""
    world = make_world()
    client, answers = as_user(world.grace), set()
    for id_ in (world.ada.pk, world.ada.pk + 1000, 0, 2**63 - 1):
        response = client.get(operation.path.format(id=id_))
        request_id = response.json()["request_id"].encode()
        headers = {name: value for name, value in response.headers.items() if name != "X-Request-ID"}
        answers.add((response.status_code, response.content.replace(request_id, b""), str(headers)))
    assert len(answers) == 1
    assert answers.pop()[0] == 403


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_no_answer_has_the_address_of_somebody_else(operation, api, as_user):
    """Z3: of Grace, who brought Ada, and of Linus, whom Ada brought."""
    world = make_world()
    response = call_of(operation, world, as_user(world.ada) if operation.signed_in else api).send()
    assert response.status_code == operation.success
    for other in ("grace@example.com", "linus@example.com"):
        assert other not in response.text


LOSSES = {
    "permission": (lambda staff: staff.user_permissions.clear(), 403),
    "group left": (lambda staff: staff.groups.clear(), 403),
    "right of the group": (lambda staff: staff.groups.get().permissions.clear(), 403),
    "group": (lambda staff: staff.groups.get().delete(), 403),
    "staff": (lambda staff: User.objects.filter(pk=staff.pk).update(is_staff=False), 403),
    "active": (lambda staff: User.objects.filter(pk=staff.pk).update(is_active=False), 401),
    "password": (lambda staff: set_password(staff, "staple under the moon"), 401),
    "account": (close_account, 401),
}


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if "{id}" in o.path], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_right_that_is_taken_away_is_gone_at_the_next_request(operation, loss, as_user):
    """Z6"""
    world, staff, group = make_world(), make_user(is_staff=True), Group.objects.create(name="support")
    client, path = as_user(staff), operation.path.format(id=world.ada.pk)
    if loss == "permission":
        staff.user_permissions.add(may_view())
    else:
        group.permissions.add(may_view())
        staff.groups.add(group)
    assert client.get(path).status_code == 200
    take_away, status = LOSSES[loss]
    take_away(staff)
    assert client.get(path).status_code == status


@pytest.mark.parametrize("role", ["staff", "viewer"])
def test_staff_without_the_right_change_nothing_in_the_admin(role, client):
    """Z5"""
    world = make_world()
    client.force_login(someone(role, world))
    user, code = f"/admin/users/user/{world.ada.pk}", f"/admin/referrals/referralcode/{world.code.pk}"
    referral = f"/admin/referrals/referral/{world.ada.referral.pk}"
    form = {"username": "eve", "email": "eve@example.com", "is_superuser": "on", "password1": "x", "post": "yes"}
    with nothing_stored():
        for row in (user, code, referral):
            for page in (f"{row}/change/", f"{row}/delete/", f"{row.rsplit('/', 1)[0]}/add/"):
                assert client.post(page, form).status_code == 403, page
        assert client.post(f"{user}/password/", form).status_code == 403
        for table in (user, code):
            chosen = {"action": "delete_selected", "_selected_action": table.rsplit("/", 1)[1], "post": "yes"}
            assert client.post(f"{table.rsplit('/', 1)[0]}/", chosen).status_code == 403


@pytest.mark.parametrize(
    "name", ["ordering", "o", "sort", "order_by", "filter", "search", "q", "fields", "include", "expand"]
)
def test_no_parameter_reaches_a_hidden_column(name, as_user):
    """Z7: the order of a list would spell a password out, letter by letter."""
    code = make_code()
    for _number in range(3):
        make_referral(code)
    client = as_user(code.owner)
    for path in (f"/api/referrals/{code.owner_id}/", f"/api/referrals/{code.owner_id}/summary/", "/auth/users/me/"):
        plain = client.get(path).json()
        for column in ("password", "-password", "referred__password", "referred__email", "*"):
            shown = client.get(path, {name: column}).json()
            assert (shown, list(shown)) == (plain, list(plain))


def test_staff_cannot_filter_the_admin_by_a_password(client):
    """Z7"""
    world = make_world()
    client.force_login(someone("viewer", world))
    for query in (
        "referred__password__startswith=m",
        "referrer__password__gt=a",
        "referrer__token_version=0",
        "e=1&q=md5",
    ):
        response = client.get(f"/admin/referrals/referral/?{query}")
        assert response.status_code in (302, 400) or not response.context["cl"].queryset, query
