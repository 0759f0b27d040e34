"""Every operation of the API as the schema lists it, and a small world in which each of them succeeds.

Tests that hold for all operations are made of these, so that a new operation is under test from its first day.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from djoser.utils import encode_uid
from drf_spectacular.settings import spectacular_settings
from jsonschema import Draft4Validator, FormatChecker

from config.api.problems import CONTENT_TYPE
from referrals.models import Referral, ReferralCode
from referrals.services import retire_any_code
from referrals.tests.factories import make_code, tomorrow
from users.emails import canonical_email
from users.models import AuditEvent, Usage, User
from users.tests.factories import make_user
from users.tests.providers import BACK
from users.tokens import ACTIVATION, EMAIL_CHANGE, EMAIL_UNDO, PASSWORD_RESET, RefreshToken

JSON = "application/json"
PICTURES = ("image/svg+xml", "image/png")
NEWCOMER = {"email": "newcomer@example.com", "username": "newcomer"}
LINKS = {
    "/auth/users/activation/": (ACTIVATION, ""),
    "/auth/users/reset_password_confirm/": (PASSWORD_RESET, ""),
    "/auth/users/set_email_confirm/": (EMAIL_CHANGE, "ada.new@example.com"),
    "/auth/users/keep_email/": (EMAIL_UNDO, "ada.old@example.com"),
}


@cache
def schema() -> dict[str, Any]:
    return spectacular_settings.DEFAULT_GENERATOR_CLASS().get_schema(request=None, public=True)


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference of the schema leads to; anything else as it is."""
    if "$ref" not in part:
        return part
    found: Any = schema()
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return resolved(found)


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    spec: dict[str, Any] = field(repr=False, hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def signed_in(self) -> bool:
        """Whether it takes a token; one that can do with and without does not."""
        return bool(self.spec["security"]) and all(self.spec["security"])

    @property
    def knows_tokens(self) -> bool:
        return any(self.spec["security"])

    @property
    def body(self) -> dict[str, Any]:
        """The JSON Schema object of the body; empty where there is none."""
        content = self.spec.get("requestBody", {}).get("content", {})
        return resolved(content[JSON]["schema"]) if content else {}

    @property
    def fields(self) -> dict[str, dict[str, Any]]:
        return {name: resolved(schema) for name, schema in self.body.get("properties", {}).items()}

    @property
    def examples(self) -> list[dict[str, Any]]:
        content = self.spec.get("requestBody", {}).get("content", {})
        return [example["value"] for example in content.get(JSON, {}).get("examples", {}).values()]

    @property
    def success(self) -> int:
        return next(int(status) for status in self.spec["responses"] if status.startswith("2"))

    def parameters(self, place: str) -> dict[str, dict[str, Any]]:
        """The parameters in `place`, which is `path` or `query`."""
        found = (resolved(parameter) for parameter in self.spec.get("parameters", ()))
        return {parameter["name"]: parameter for parameter in found if parameter["in"] == place}

    def response(self, status: int) -> dict[str, Any]:
        return resolved(self.spec["responses"][str(status)])


OPERATIONS = [
    Operation(method.upper(), path, spec) for path, item in schema()["paths"].items() for method, spec in item.items()
]


def operation_named(name: str) -> Operation:
    """The operation of a name like `GET /auth/users/me/`."""
    return next(operation for operation in OPERATIONS if str(operation) == name)


# --- The world: Grace referred Ada, and Ada referred Linus ---


@dataclass(frozen=True)
class World:
    grace: User
    ada: User
    code: ReferralCode
    """Grace's, by which Ada came."""


def make_world() -> World:
    """The people of the schema's examples, Ada with the password of its examples; both have a code."""
    grace = make_user(email="grace@example.com", username="grace")
    ada = make_user(email="ada@example.com", username="ada")
    linus = make_user(email="linus@example.com", username="linus")
    code, adas = make_code(grace), make_code(ada)
    Referral.objects.bulk_create(  # as rows, for there is a world in each of a thousand tests
        [Referral(referrer=grace, referred=ada, code=code), Referral(referrer=ada, referred=linus, code=adas)]
    )
    return World(grace, ada, code)


@dataclass(frozen=True)
class Call:
    """One request, ready to be sent by `client`."""

    operation: Operation
    world: World
    client: Any
    path: dict[str, Any]
    query: dict[str, Any]
    body: dict[str, Any]

    @property
    def url(self) -> str:
        path = self.operation.path
        for name, value in self.path.items():
            path = path.replace(f"{{{name}}}", quote(str(value), safe="%"))
        return f"{path}?{urlencode(self.query)}" if self.query else path

    def with_body(self, **changes: Any) -> "Call":
        return replace(self, body=self.body | changes)

    def send(self, raw: bytes | None = None, content_type: str = JSON, **headers: Any) -> Any:
        """Send it, with `raw` in place of the body if given, and hold the answer to the schema."""
        if raw is None and self.operation.body:
            raw = json.dumps(self.body).encode()
        sent_as = {"content_type": "" if raw is None else content_type}
        response = self.client.generic(self.operation.method, self.url, raw or b"", **sent_as, **headers)
        assert_conforms(self.operation, response)
        return response


def call_of(operation: Operation, world: World, client: Any, who: User | None = None) -> Call:
    """A call that succeeds: the schema's own example, with the codes, tokens and dates of this world.

    It is made for `who`, or Ada, to send; path parameters name Ada and Grace's code whoever that is.
    """
    who = who or world.ada
    if str(operation) == "POST /api/referral-code/":
        retire_any_code(who)
    body = dict(operation.examples[0]) if operation.body else {}
    made: dict[str, Any] = {"referral_code": world.code.code, "expiration_date": tomorrow().isoformat()}
    if operation.path in ("/auth/users/", "/api/register-with-referral/"):
        made |= NEWCOMER
    if operation.path in ("/auth/users/resend_activation/", "/auth/users/reset_password/", "/auth/jwt/create/"):
        made |= {"email": who.email}
    if operation.path in LINKS:
        kind, payload = LINKS[operation.path]
        made |= {"uid": uid_of(who), "token": kind.make(who, payload)}
    if operation.path == "/auth/o/{provider}/" and body:
        made |= {"state": state_for(client)}
    if operation.path == "/api/referrals/claim/":
        Referral.objects.filter(referred=who).delete()
    if operation.path.startswith("/auth/jwt/"):
        refresh = RefreshToken.for_user(who)
        made |= {"refresh": str(refresh), "token": str(refresh.access_token)}
    known: dict[str, Any] = {"id": world.ada.pk, "code": world.code.code, "email": world.grace.email}
    known |= {"provider": "github", "redirect_uri": BACK, "referral_code": world.code.code}
    path = {name: known[name] for name in operation.parameters("path")}
    query = {name: known[name] for name in operation.parameters("query") if name in known}
    return Call(operation, world, client, path, query, body | {name: made[name] for name in made.keys() & body.keys()})


def state_for(client: Any) -> str:
    """The state of someone who has just left for GitHub, in the client's session."""
    url = (
        client.get(f"/auth/o/github/?{urlencode({'redirect_uri': BACK})}")
        .json()
        .get("authorization_url", "?state=none")
    )
    [state] = parse_qs(urlsplit(url).query)["state"]
    return state


def uid_of(user: User) -> str:
    return encode_uid(user.pk)


# --- What is stored ---

FIXED = (ContentType, Permission)
NOTES = (AuditEvent, Usage)
Stored = dict[str, dict[Any, dict[str, Any]]]


def stored() -> Stored:
    """Every row of every table that a request could write to, by its key; the notes that are taken of it left out."""
    tables = [model for model in apps.get_models(include_auto_created=True) if model not in (*FIXED, *NOTES)]
    return {
        model._meta.label: {row[model._meta.pk.attname]: row for row in model._base_manager.values()}
        for model in tables
    }


def changes(before: Stored, after: Stored) -> tuple[list[str], list[dict[str, Any]]]:
    """Which columns of which rows are new or gone, as text, and the rows that are new."""
    words, new = [], []
    for table, new_rows in after.items():
        old_rows = before[table]
        words += [f"{table} -" for _gone in old_rows.keys() - new_rows.keys()]
        words += [f"{table} +" for _added in new_rows.keys() - old_rows.keys()]
        for key in old_rows.keys() & new_rows.keys():
            changed = (name for name, value in new_rows[key].items() if value != old_rows[key][name])
            words += [f"{table} {key} {name}" for name in changed]
        new += [row for key, row in new_rows.items() if old_rows.get(key) != row]
    return sorted(words), new


@contextmanager
def undone() -> Iterator[None]:
    """Whatever the block writes is taken back after it."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@contextmanager
def nothing_stored() -> Iterator[None]:
    """G3: a refusal leaves every table as it was, down to mails."""
    before = stored()
    yield
    assert changes(before, stored()) == ([], [])


# --- Whether an answer is as the schema says (G6) ---

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def formats() -> FormatChecker:
    checker = FormatChecker(["date"])

    @checker.checks("date-time", ValueError)
    def is_moment(value: Any) -> bool:
        return not isinstance(value, str) or bool(RFC_3339.fullmatch(value) and datetime.fromisoformat(value))

    @checker.checks("email", ValueError)
    def is_email(value: Any) -> bool:
        return not isinstance(value, str) or bool(canonical_email(value))

    @checker.checks("uri", ValueError)
    def is_uri(value: Any) -> bool:
        return not isinstance(value, str) or bool(urlsplit(value).scheme and urlsplit(value).netloc)

    return checker


def json_schema(part: dict[str, Any]) -> dict[str, Any]:
    """A schema of OpenAPI 3.0 as JSON Schema: references followed, `nullable` spelt out, unknown properties refused."""
    plain = dict(resolved(part))
    if plain.pop("nullable", False):
        plain["type"] = [plain["type"], "null"]
    if "properties" in plain:
        plain["properties"] = {name: json_schema(inner) for name, inner in plain["properties"].items()}
        plain.setdefault("additionalProperties", False)
    if "items" in plain:
        plain["items"] = json_schema(plain["items"])
    for word in ("allOf", "anyOf", "oneOf"):
        if word in plain:
            plain[word] = [json_schema(inner) for inner in plain[word]]
    return plain


def faults(value: Any, part: dict[str, Any]) -> list[str]:
    """What is wrong with `value` by a schema of the document."""
    validator = Draft4Validator(json_schema(part), format_checker=formats())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def assert_conforms(operation: Operation, response: Any) -> None:
    """G6: status, content type, headers and body are what the schema says of this operation."""
    status = response.status_code
    assert str(status) in operation.spec["responses"], f"{operation}: {status} is not in the schema: {response.text}"
    said = operation.response(status)
    for name in said.get("headers", {}):
        assert name in response, f"{operation}: {status} lacks the header {name}"
    if "content" not in said:
        assert response.content == b"", f"{operation}: {status} has a body"
        return
    assert response["Content-Type"] in said["content"], f"{operation}: {status} comes as {response['Content-Type']}"
    assert (response["Content-Type"] == CONTENT_TYPE) == (status >= 400)
    if response["Content-Type"] in PICTURES:
        assert response.content
        return
    wrong = faults(response.json(), said["content"][response["Content-Type"]]["schema"])
    assert not wrong, f"{operation}: {status}: {wrong}"
    late = [text for text in re.findall(r'"(\d{4}-\d\d-\d\dT[^"]*)"', response.text) if not text.endswith("Z")]
    assert not late, f"{operation}: times are in UTC, with a Z: {late}"
