"""What each operation costs in queries, and by which index the list is read."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from djoser.utils import encode_uid
from drf_spectacular.generators import SchemaGenerator

from referrals.models import Referral
from referrals.tests.factories import make_code, make_referral, tomorrow
from referrals.tests.test_referrals_api import make_crowd
from users.models import User
from users.tests.factories import PASSWORD, make_user
from users.tests.providers import BACK
from users.tokens import ACTIVATION, EMAIL_CHANGE, EMAIL_UNDO, PASSWORD_RESET, AccessToken, RefreshToken

pytestmark = pytest.mark.django_db

SIGN_UP = {"email": "new@example.com", "password": PASSWORD, "username": "new"}
CREDENTIALS = {"email": "grace@example.com", "password": PASSWORD}
NEW_PASSWORD = {"new_password": "staple under the moon"}


def grace() -> User:
    return User.objects.get(username="grace")


def link(kind, *payload):
    return {"uid": encode_uid(grace().pk), "token": kind.make(grace(), *payload)}


def back_from_github(client):
    url = client.get("/auth/o/github/", {"redirect_uri": BACK}).json()["authorization_url"]
    return {"code": "any", "state": parse_qs(urlsplit(url).query)["state"][0]}


def refresh(client):
    return {"refresh": str(RefreshToken.for_user(grace()))}


# Operation, queries, path (the schema's where None), body. One query of each signed-in call is the look at the account.
COSTS = [
    ("sign_up", 5, None, lambda client: SIGN_UP),
    ("show_my_account", 2, None, None),
    ("change_my_account", 5, None, lambda client: {"username": "hopper"}),
    ("close_my_account", 16, None, lambda client: {"current_password": PASSWORD}),
    ("confirm_my_address", 4, None, lambda client: link(ACTIVATION)),
    ("mail_the_link_again", 1, None, lambda client: {"email": "grace@example.com"}),
    ("change_my_password", 7, None, lambda client: NEW_PASSWORD | {"current_password": PASSWORD}),
    ("forgot_my_password", 1, None, lambda client: {"email": "grace@example.com"}),
    ("set_a_new_password_by_link", 7, None, lambda client: NEW_PASSWORD | link(PASSWORD_RESET)),
    ("change_my_address", 5, None, lambda client: {"new_email": "g@example.org", "current_password": PASSWORD}),
    ("keep_my_old_address", 10, None, lambda client: link(EMAIL_UNDO, "g@example.org")),
    ("confirm_my_new_address", 4, None, lambda client: link(EMAIL_CHANGE, "g@example.org")),
    ("sign_in", 4, None, lambda client: CREDENTIALS),
    ("get_a_new_pair", 1, None, refresh),
    ("check_an_access_token", 1, None, lambda client: {"token": str(RefreshToken.for_user(grace()).access_token)}),
    ("sign_out", 2, None, refresh),
    ("sign_out_everywhere", 5, None, None),
    ("export_my_data", 13, None, None),
    ("show_a_code", 2, None, None),
    ("create_my_code", 4, None, lambda client: {"expiration_date": tomorrow().isoformat()}),
    ("delete_my_code", 3, None, None),
    ("mail_a_code_by_get", 3, None, None),
    ("mail_a_code", 3, None, lambda client: {}),
    ("draw_my_qr_code", 2, None, None),
    ("check_a_code", 1, "/api/referral-code/GRACE-CODE/", None),
    ("register_with_a_code", 8, None, lambda client: SIGN_UP | {"referral_code": "GRACE-CODE"}),
    ("list_the_providers", 0, None, None),
    ("leave_for_a_provider", 5, "/auth/o/github/?redirect_uri=https%3A%2F%2Fapp.example.com%2Fback", None),
    ("come_back_from_a_provider", 12, "/auth/o/github/", back_from_github),
    ("name_who_brought_me", 7, None, lambda client: {"referral_code": "OLDER-CODE"}),
    ("list_referrals", 2, "/api/referrals/{grace}/", None),
    ("sum_referrals_up", 6, "/api/referrals/{grace}/summary/", None),
]


def operations() -> dict[str, tuple[str, str]]:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    return {operation["operationId"]: (method, path) for path, of in paths.items() for method, operation in of.items()}


def test_every_operation_has_its_cost_written_down():
    assert {row[0] for row in COSTS} == operations().keys()


@pytest.mark.parametrize(("name", "queries", "path", "body"), COSTS, ids=[row[0] for row in COSTS])
def test_an_operation_costs_so_many_queries(as_user, github_answers, name, queries, path, body):
    make_code(wish="OLDER-CODE")
    owner = make_user(username="grace", email="grace@example.com")
    if name != "create_my_code":
        make_code(owner, wish="GRACE-CODE")
    client = as_user(owner)
    method, path_in_schema = operations()[name]
    path = (path or path_in_schema).format(grace=owner.pk)
    body = body(client) if body else None
    ContentType.objects.clear_cache()
    with CaptureQueriesContext(connection) as captured:
        response = getattr(client, method)(path, body)
    assert response.status_code < 300, response.content
    asked = [query["sql"] for query in captured if not query["sql"].startswith(("SAVEPOINT", "RELEASE", "BEGIN"))]
    assert len(asked) == queries, "\n".join(asked)


@pytest.mark.parametrize("path", ["", "?limit=100", "summary/"])
def test_a_list_costs_the_same_at_one_row_and_at_a_hundred(as_user, path, django_assert_num_queries):
    few, many = make_referral(), make_crowd(100)
    costs = []
    for owner in (few.referrer, many.owner):
        client = as_user(owner)
        with CaptureQueriesContext(connection) as captured:
            assert client.get(f"/api/referrals/{owner.pk}/{path}").status_code == 200
        costs.append(len(captured))
    assert costs[0] == costs[1]


def test_a_deep_page_is_read_off_the_index_as_the_first_is(as_user):
    """No sort, no count: a range of the index that begins where the page does, however deep."""
    make_crowd(5_000)
    code = make_crowd(300)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    client = as_user(code.owner)
    url = f"/api/referrals/{code.owner_id}/?limit=50"
    pages = []
    while url:
        with CaptureQueriesContext(connection) as captured:
            url = client.get(url).json()["next"]
        pages += [query["sql"] for query in captured if "referrals_referral" in query["sql"]]
    assert len(pages) == 6
    for sql in (pages[0], pages[3]):
        assert "COUNT(" not in sql
        assert "OFFSET" not in sql
        plan = explain(sql)
        assert "referrals_referral_newest" in plan
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan


def explain(sql: str) -> str:
    postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'(FORMAT JSON)' if postgresql else 'QUERY PLAN'} {sql}")
        return json.dumps(cursor.fetchall(), default=str)


def test_the_access_token_is_looked_at_once(as_user):
    """One cheap query by primary key says that the account is alive, not blocked, and the token of today."""
    token = RefreshToken.for_user(make_user()).access_token
    with CaptureQueriesContext(connection) as captured:
        assert AccessToken(str(token)).user
    assert len(captured) == 1
    assert not Referral.objects.exists()
