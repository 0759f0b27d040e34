"""A lint of the served schema, and whether every operation answers as its own example says."""

from collections import Counter

import pytest
import yaml
from drf_spectacular.validation import validate_schema

from config.api.problems import CONTENT_TYPE, TITLES
from config.tests.operations import (
    JSON,
    OPERATIONS,
    PICTURES,
    Operation,
    assert_conforms,
    call_of,
    faults,
    make_world,
    resolved,
    schema,
    stored,
)

PROBLEM = {"$ref": "#/components/schemas/Problem"}
WITH_BODY = [operation for operation in OPERATIONS if operation.body]
OPEN = {
    "POST /auth/users/",
    "POST /auth/users/activation/",
    "POST /auth/users/resend_activation/",
    "POST /auth/users/reset_password/",
    "POST /auth/users/reset_password_confirm/",
    "POST /auth/users/set_email_confirm/",
    "POST /auth/users/keep_email/",
    "POST /auth/jwt/create/",
    "POST /auth/jwt/refresh/",
    "POST /auth/jwt/verify/",
    "POST /auth/jwt/logout/",
    "GET /api/referral-code/{code}/",
    "GET /auth/o/",
    "GET /auth/o/{provider}/",
    "POST /auth/o/{provider}/",
    "POST /api/register-with-referral/",
}

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)


@pytest.mark.django_db
@every_operation
def test_the_example_of_an_operation_succeeds_as_the_schema_says(operation, api, as_user):
    """G6"""
    world = make_world()
    client = as_user(world.ada) if operation.signed_in else api
    assert call_of(operation, world, client).send().status_code == operation.success


@pytest.mark.django_db
def test_the_schema_is_served_as_yaml_and_as_json(api):
    as_yaml = api.get("/api/schema/")
    as_json = api.get("/api/schema/?format=json")
    by_accept = api.get("/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json")
    assert as_yaml["Content-Type"] == "application/vnd.oai.openapi; charset=utf-8"
    assert as_json["Content-Type"] == by_accept["Content-Type"] == "application/vnd.oai.openapi+json"
    assert yaml.safe_load(as_yaml.content) == as_json.json() == by_accept.json()
    assert as_json.json()["paths"] == schema()["paths"]


@pytest.mark.django_db
def test_the_schema_is_the_same_in_every_language(api):
    assert api.get("/api/schema/", HTTP_ACCEPT_LANGUAGE="ru").content == api.get("/api/schema/").content


def test_the_schema_is_openapi_3_0_3():
    assert schema()["openapi"] == "3.0.3"
    validate_schema(schema())


def test_no_two_operations_have_the_same_id():
    ids = Counter(operation.spec["operationId"] for operation in OPERATIONS)
    assert [name for name, times in ids.items() if times > 1] == []


def test_every_tag_is_used_and_described():
    described = {tag["name"] for tag in schema()["tags"] if tag["description"]}
    assert {tag for operation in OPERATIONS for tag in operation.spec["tags"]} == described


@every_operation
def test_an_operation_has_words(operation):
    spec = operation.spec
    assert 3 <= len(spec["summary"]) <= 40
    assert len(spec["description"]) > len(spec["summary"])
    assert len(spec["tags"]) == 1
    for name, parameter in (operation.parameters("path") | operation.parameters("query")).items():
        assert parameter.get("description"), f"{name} has no description"


def test_just_the_operations_that_need_no_token_say_so():
    assert {str(operation) for operation in OPERATIONS if not operation.signed_in} == OPEN
    either = [operation for operation in OPERATIONS if operation.knows_tokens and not operation.signed_in]
    assert {operation.path for operation in either} == {"/auth/o/{provider}/"}  # to sign in, or to add a provider
    assert {str(o.spec["security"]) for o in OPERATIONS if o not in either} == {"[]", "[{'bearer': []}]"}
    assert schema()["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


@every_operation
def test_a_success_is_described_with_examples(operation):
    successes = [status for status in operation.spec["responses"] if status.startswith("2")]
    assert len(successes) == 1
    content = operation.response(operation.success).get("content")
    if operation.success == 204:
        assert content is None
        return
    if set(content) == set(PICTURES):
        return
    assert set(content) == {JSON}
    assert content[JSON]["examples"]
    for example in content[JSON]["examples"].values():
        assert faults(example["value"], content[JSON]["schema"]) == []


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_a_body_is_described_with_examples(operation):
    assert operation.examples
    for example in operation.examples:
        assert faults(example, operation.body) == []


@every_operation
def test_every_error_is_the_one_problem_with_examples(operation):
    for status in operation.spec["responses"]:
        if status.startswith("2"):
            continue
        response = operation.response(int(status))
        assert response["description"] == str(TITLES[int(status)])
        assert set(response["content"]) == {CONTENT_TYPE}
        problem = response["content"][CONTENT_TYPE]
        assert problem["schema"] == PROBLEM
        assert problem["examples"]
        for example in problem["examples"].values():
            assert faults(example["value"], PROBLEM) == []
            assert example["value"]["status"] == int(status)
            assert "{" not in example["value"]["detail"], "a text with its blanks not filled in"
        assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503"))
        assert "service_unavailable" in problem["examples"] or status != "503"


@every_operation
def test_the_errors_that_an_operation_can_give_are_listed(operation):
    must = {406, 500, 503}
    must |= {400, 413, 415} if operation.body else set()
    must |= {400} if operation.parameters("query") else set()
    must |= {401} if operation.knows_tokens or operation.path.startswith("/auth/jwt/") else set()
    must |= {403, 404} if "{id}" in operation.path else set()
    must |= {404} if operation.path.startswith("/api/referral-code/") and operation.method != "POST" else set()
    must |= {404} if operation.path == "/api/referral-code/email/" else set()
    conflicts = ("POST /api/referral-code/", "POST /auth/o/{provider}/", "POST /api/referrals/claim/")
    must |= {409} if str(operation) in conflicts else set()
    must |= {404} if operation.path == "/auth/o/{provider}/" else set()
    limited = ("/resend_activation/", "/reset_password/", "/set_email/", "/referral-code/email/")
    limited += (
        "/me/export/",
        "/set_password/",
        "/jwt/create/",
        "/register-with-referral/",
        "/claim/",
        "/referral-code/{code}/",
    )
    limited_too = ("POST /auth/users/", "DELETE /auth/users/me/", "GET /auth/o/{provider}/", "GET /api/referral-code/")
    must |= {429} if operation.path.endswith(limited) or str(operation) in limited_too else set()
    assert {int(status) for status in operation.spec["responses"]} - {operation.success} == must


def test_the_fault_finder_finds_faults():
    """The check of the check: each kind of departure from the schema is seen."""
    account = resolved({"$ref": "#/components/schemas/Account"})
    good = next(o for o in OPERATIONS if str(o) == "GET /auth/users/me/").response(200)["content"][JSON]["examples"]
    example = next(iter(good.values()))["value"]
    assert faults(example, account) == []
    assert faults(example | {"referrer": None}, account) == []
    for wrong in (
        {"id": "42"},
        {"email": "not an address"},
        {"email": None},
        {"registered_at": "yesterday"},
        {"referrer": "grace"},
        {"referrer": {"username": "grace", "email": "grace@example.com"}},
        {"password": "one that leaks"},
    ):
        assert len(faults(example | wrong, account)) >= 1, wrong
    assert faults({name: value for name, value in example.items() if name != "id"}, account)


@pytest.mark.django_db
def test_an_answer_that_the_schema_does_not_know_is_seen(api):
    """The check of the check."""
    me = next(o for o in OPERATIONS if str(o) == "GET /auth/users/me/")
    undocumented = Operation("GET", me.path, me.spec | {"responses": {"200": me.spec["responses"]["200"]}})
    refused = api.get(me.path)
    assert_conforms(me, refused)
    with pytest.raises(AssertionError, match="401 is not in the schema"):
        assert_conforms(undocumented, refused)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/schema/", "/redoc/", "/swagger/"])
def test_an_error_about_the_schema_is_a_problem_in_json_too(path, api):
    """G2: whatever the page itself is written in."""
    response = api.post(path)
    assert (response.status_code, response["Content-Type"]) == (405, CONTENT_TYPE)
    assert faults(response.json(), PROBLEM) == []


@pytest.mark.django_db
def test_looking_at_the_schema_writes_nothing(api):
    before = stored()
    for path in ("/api/schema/", "/redoc/", "/swagger/"):
        assert api.get(path).status_code == 200
    assert stored() == before
