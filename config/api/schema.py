"""The OpenAPI schema: docstrings for words, exception classes for refusals, one Problem for every error.

A view's docstring has the summary in its first line and the description below. `@refuses` names the refusals that are
its own; those that any operation can give are added here.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from inspect import getdoc
from typing import Any, TypeVar

from django.utils import translation
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from rest_framework import exceptions
from rest_framework.exceptions import APIException

from config.api.problems import CONTENT_TYPE, TITLES, ContentTooLarge, InvalidField, ServiceUnavailable

View = TypeVar("View", bound=Callable[..., Any])
Refusal = type[APIException]


def refuses(*refusals: Refusal) -> Callable[[View], View]:
    """Say which refusals of its own a view can give."""

    def mark(view: View) -> View:
        view.refusals = refusals  # type: ignore[attr-defined]
        return view

    return mark


class Bearer(OpenApiAuthenticationExtension):
    target_class = "users.tokens.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        text = "The access token from `POST /auth/jwt/create/`."
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": text}


class Operation(AutoSchema):
    """One operation, with its refusals."""

    method: str

    def get_summary(self) -> str:
        return (getdoc(self._method) or "").partition("\n")[0]

    def get_operation_id(self) -> str:
        """The summary as a name, which generated clients give to their functions: `sign_in`, `list_referrals`."""
        return re.sub(r"\W+", "_", self.get_summary().lower())

    def get_description(self) -> str:
        return (getdoc(self._method) or "").partition("\n")[2].strip()

    def get_tags(self) -> list[str]:
        return [self.view.tag]

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            if not any(operation.get("security", [])):
                operation["security"] = []  # said outright; an empty requirement would mean "optional"
            self._add_body_of_delete(operation)
            own = getattr(self._method, "refusals", ())
            self._add_refusals(operation, own)
        return operation

    @property
    def _method(self) -> Any:
        return getattr(self.view, getattr(self.view, "action", None) or self.method.lower())

    def _add_body_of_delete(self, operation: dict[str, Any]) -> None:
        """Closing an account takes a password, which drf-spectacular leaves out of a DELETE."""
        if self.method == "DELETE":
            self.method = "POST"
            if body := self._get_request_body():
                operation["requestBody"] = body
            self.method = "DELETE"

    def _add_refusals(self, operation: dict[str, Any], own: tuple[Refusal, ...]) -> None:
        by_status: dict[int, list[Refusal]] = defaultdict(list)
        for refusal in own:
            by_status[refusal.status_code].append(refusal)
        general = {406, 500, 503}
        if "requestBody" in operation:
            general |= {400, 413, 415}
        if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
            general |= {400}
        if operation["security"]:
            general |= {401}
        for status in sorted(general - by_status.keys()):
            operation["responses"][str(status)] = {"$ref": f"#/components/responses/{component_name(status)}"}
        for status, refusals in sorted(by_status.items()):
            if status in OF_ANY_TOO:
                refusals = [OF_ANY_TOO[status], *refusals]
            examples = {refusal.default_code: {"value": example_of(refusal)} for refusal in refusals}
            operation["responses"][str(status)] = response(status, examples)
        operation["responses"] = dict(sorted(operation["responses"].items()))
        for code, answer in operation["responses"].items():
            if answer.get("description") == "":
                answer["description"] = HTTPStatus(int(code)).phrase


def component_name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "")


def response(status: int, examples: dict[str, Any]) -> dict[str, Any]:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    answer: dict[str, Any] = {"description": str(TITLES[status]), "content": {CONTENT_TYPE: problem}}
    if status in (429, 503):
        seconds = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
        answer["headers"] = {"Retry-After": seconds}
    return answer


def example_of(refusal: Refusal) -> dict[str, Any]:
    status, code, detail = refusal.status_code, refusal.default_code, str(refusal.default_detail)
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": str(TITLES[status]),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if issubclass(refusal, InvalidField):
        problem |= {"code": "invalid", "errors": [{"field": f, "code": code, "detail": detail} for f in refusal.fields]}
    elif refusal is exceptions.ValidationError:
        detail = "This field is required."
        problem |= {"detail": detail, "errors": [{"field": "email", "code": "required", "detail": detail}]}
    elif refusal is exceptions.UnsupportedMediaType:
        problem |= {"detail": str(refusal("text/plain").detail)}
    return problem | {"request_id": "5f0c6a8e2b7d4c3f9a1e8d7c6b5a4f3e"}


GENERAL: list[Refusal] = [
    exceptions.ValidationError,
    exceptions.NotAuthenticated,
    exceptions.NotAcceptable,
    ContentTooLarge,
    exceptions.UnsupportedMediaType,
    APIException,
    ServiceUnavailable,
]
OF_ANY_TOO: dict[int, Refusal] = {400: exceptions.ValidationError, 503: ServiceUnavailable}
"""Of what any operation can give: what those can too that have refusals of their own with its status."""

PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457). Decide by `code`, which is stable; the texts follow `Accept-Language`.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Always about:blank: `code` says more."},
        "title": {"type": "string", "description": "The status, in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What went wrong, for a person."},
        "code": {"type": "string", "description": "What went wrong, for a program."},
        "errors": {
            "type": "array",
            "description": "The fields at fault, where fields are.",
            "items": {"$ref": "#/components/schemas/FieldError"},
        },
        "request_id": {"type": "string", "description": "The same as in the server's log and in `X-Request-ID`."},
    },
}

FIELD_ERROR = {
    "type": "object",
    "description": "One fault of one field.",
    "required": ["field", "code", "detail"],
    "properties": {
        "field": {"type": "string", "nullable": True, "description": "Which; null for the body as a whole."},
        "code": {"type": "string", "description": "What is wrong, for a program."},
        "detail": {"type": "string", "description": "What is wrong, for a person."},
    },
}


METHODS = ("post", "get", "put", "patch", "delete")

NULL = {"type": "object", "nullable": True, "enum": [None]}


def say_null_as_a_choice(schemas: dict[str, Any]) -> None:
    """Write "this component or null" as OpenAPI 3.0 has it, where `nullable` beside a reference means nothing."""
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if "allOf" in field and field.pop("nullable", False):
                field["anyOf"] = [*field.pop("allOf"), NULL]


class Generator(SchemaGenerator):
    """Makes the schema once, in English: it is the same for everybody until the service is started anew."""

    def get_schema(self, request: Any = None, public: bool = False) -> dict[str, Any]:
        return _whole_schema()


@cache
def _whole_schema() -> dict[str, Any]:
    with translation.override("en"):
        return SchemaGenerator().get_schema(request=None, public=True)


def finish(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add what all operations refer to, and the tags' descriptions; bring the operations of a path into order."""
    components = result["components"]
    components["schemas"] |= {"Problem": PROBLEM, "FieldError": FIELD_ERROR}
    say_null_as_a_choice(components["schemas"])
    for path, operations in result["paths"].items():  # comes out of a set, in an order of its own in each process
        result["paths"][path] = {method: operations[method] for method in METHODS if method in operations}
    components["responses"] = {
        component_name(refusal.status_code): response(
            refusal.status_code, {refusal.default_code: {"value": example_of(refusal)}}
        )
        for refusal in GENERAL
    }
    result["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    return result


TAGS = {
    "Accounts": "Sign up, confirm an address, change or close an account.",
    "Tokens": "Sign in and stay signed in.",
    "Providers": "Sign in through Google, GitHub, Yandex, VK or the company's own provider.",
    "Referral code": "Each user has one code at a time, hands it on, and can be found by it.",
    "Referrals": "Who registered with a code.",
}
