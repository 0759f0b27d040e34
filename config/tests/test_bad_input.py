"""What is refused, and how: every writable field and parameter of every operation against every kind of wrong value.

The operations and their fields come out of the schema, so that a new one is under test from its first day. What is said
here of one field or one operation only is what the schema cannot know. That a body which trickles in is cut off is a
matter for what stands in front of the service, and not shown here.
"""

import json
import os
import re
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, time as day_time, timedelta
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from django.conf import settings
from django.core.signals import request_started
from django.db import close_old_connections
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.utils import timezone
from django.utils.html import escape
from django.utils.translation import trans_real

from config.tests.operations import (
    JSON,
    LINKS,
    NEWCOMER,
    OPERATIONS,
    call_of,
    changes,
    make_world,
    nothing_stored,
    operation_named,
    stored,
    uid_of,
    undone,
)
from config.wsgi import application
from referrals.models import ReferralCode
from referrals.serializers import RegisterSerializer
from referrals.tests.factories import make_code, make_expired_code, make_referral, tomorrow
from users.models import OutgoingEmail, User
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
LIMIT = settings.API_BODY_LIMIT

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
every_body = pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.body], ids=str)
every_path = pytest.mark.parametrize("path", sorted({o.path for o in OPERATIONS}))


@pytest.fixture
def ready(api, as_user):
    """Makes a call that would succeed, in a world of its own, by Ada where somebody must be signed in."""

    def make(operation):
        world = make_world()
        return call_of(operation, world, as_user(world.ada) if operation.signed_in else api)

    return make


def fields_at_fault(response):
    assert response.status_code == 400, response.text
    return {error["field"] for error in response.json().get("errors", ())}


def assert_names(response, operation, field, value):
    """400, and it is this field's fault. A mailed link has two halves, and is wrong as a whole."""
    halves = {"uid", "token"} if operation.path in LINKS and field in ("uid", "token") else {field}
    assert fields_at_fault(response) == halves, (field, value)
    if len(halves) == 2:
        assert {error["code"] for error in response.json()["errors"]} == {"invalid_token"}


def assert_unreadable(response):
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "parse_error"
    assert response.json()["detail"] == "The body cannot be read as what its Content-Type says it is."
    assert "errors" not in response.json()


def without_id(response):
    return {name: value for name, value in response.json().items() if name != "request_id"}


# --- One wrong value in each field ---

WRONG_TYPES = [None, True, False, 0, 1.5, "", [], {}, ["x"], [None], {"a": {"b": ["c"]}}]
UNSEEN = ["\x00", "\ud800", "\udfff", "\u200b", "\u202e", "\u2066", "\u2028", "\x85", "\r\nBcc: eve@example.com"]
NUMBERS = ["2147483648", "9223372036854775808", "1" + 400 * "0", "-1", "1.0", "1e300"]
NO_NUMBERS = ["9" * 5000, "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "01", "+1", "1_000", "\u0663"]


@every_body
def test_a_value_of_the_wrong_type_is_refused_by_the_name_of_its_field(operation, ready):
    """B1"""
    call = ready(operation)
    with nothing_stored():
        for field, about in operation.fields.items():
            for value in WRONG_TYPES:
                if not (about.get("type") == "boolean" and isinstance(value, bool)):
                    assert_names(call.with_body(**{field: value}).send(), operation, field, value)


@every_body
def test_characters_that_nobody_sees_are_refused_by_the_name_of_their_field(operation, ready):
    """B4"""
    call = ready(operation)
    with nothing_stored():
        for field in operation.fields:
            right = str(call.body.get(field) or "ada")
            for value in [*(right[:2] + unseen + right[2:] for unseen in UNSEEN), f"{right}\n", f"\r{right}"]:
                assert_names(call.with_body(**{field: value}).send(), operation, field, value)


@every_body
def test_a_number_is_refused_by_the_name_of_its_field(operation, ready):
    """B6, L20"""
    call = ready(operation)
    with nothing_stored():
        for field in operation.fields:
            for number in NUMBERS:
                assert_names(call.send(with_literal(call.body, field, number)), operation, field, number)


@every_body
def test_a_number_that_is_none_makes_a_body_unreadable(operation, ready):
    """B3, B6"""
    call = ready(operation)
    with nothing_stored():
        for field in operation.fields:
            for number in NO_NUMBERS:
                assert_unreadable(call.send(with_literal(call.body, field, number)))


def with_literal(body, field, literal):
    """The body with `literal`, which is JSON or near it, as the value of `field`."""
    rest = json.dumps({name: value for name, value in body.items() if name != field} | {field: "\n"})
    return rest.replace(r'"\n"', literal).encode()


@every_body
def test_a_field_that_is_missing_is_named(operation, ready):
    call = ready(operation)
    with nothing_stored():
        for field in operation.body.get("required", ()):
            rest = {name: value for name, value in call.body.items() if name != field}
            for response in (call.send(json.dumps(rest).encode()), call.send(urlencode(rest).encode(), FORM)):
                assert fields_at_fault(response) == {field}
                assert response.json()["errors"][0]["code"] == "required"


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.path in LINKS], ids=str)
def test_every_wrong_link_gets_the_same_answer(operation, ready):
    """B5"""
    call = ready(operation)
    elsewhere = next(kind for path, (kind, _payload) in LINKS.items() if path != operation.path)
    wrong = [
        123,
        5,
        True,
        None,
        "",
        "x" * 10_000,
        "7" * 40,
        "Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nw",
        "\u0436",
        "\x00",
        "\ud800",
    ]
    links = [{field: value} for field in ("uid", "token") for value in wrong]
    links += [
        {"uid": uid_of(call.world.grace)},
        {"token": elsewhere.make(call.world.ada)},
        {"uid": None, "token": None},
    ]
    with nothing_stored():
        answer = without_id(call.with_body(token="wrong").send())
        for link in links:
            assert without_id(call.with_body(**link).send()) == answer, link
    assert [error["field"] for error in answer["errors"]] == ["uid", "token"]


@every_body
def test_two_addresses_for_one_reach_nobody(operation, ready):
    """B1, R16 (CVE-2023-7028)"""
    call = ready(operation)
    both = ("ada@example.com", "eve@example.com")
    with nothing_stored():
        for field in (name for name, about in operation.fields.items() if about.get("format") == "email"):
            for value in (list(both), {"0": both[0], "1": both[1]}, ",".join(both), "; ".join(both), " ".join(both)):
                assert_names(call.with_body(**{field: value}).send(), operation, field, value)
            assert_unreadable(call.send(urlencode(call.body | {field: both}, doseq=True).encode(), FORM))


# --- Formats ---


def in_each_format(body):
    """The same body as JSON, as a form and as multipart."""
    form = {name: str(value).lower() if isinstance(value, bool) else value for name, value in body.items()}
    yield json.dumps(body).encode(), JSON
    yield urlencode(form).encode(), FORM
    yield encode_multipart(BOUNDARY, form), MULTIPART_CONTENT


@every_body
def test_json_forms_and_multipart_bodies_do_the_same(operation, ready):
    """B2, L25"""
    call, before = ready(operation), stored()
    done = []
    for raw, content_type in in_each_format(call.body):
        with undone():
            assert call.send(raw, content_type).status_code == operation.success
            done.append(changes(before, stored())[0])
    assert done[0] == done[1] == done[2]


@every_body
def test_a_wrong_value_gets_the_same_answer_in_every_format(operation, ready):
    """B2"""
    call = ready(operation)
    for field in operation.fields:
        for value in ("", " ", "\x00", "x" * 300, "\u0436", "null"):
            answers = []
            for raw, content_type in in_each_format(call.body | {field: value}):
                with undone():
                    response = call.send(raw, content_type)
                answers.append((response.status_code, response.status_code >= 400 and without_id(response)))
            assert answers[0] == answers[1] == answers[2], (field, value)


def test_a_form_changes_what_it_names_and_nothing_else(as_user):
    """B2"""
    user = make_user(username="ada", discoverable_by_email=True)
    for form, expected in (("username=lovelace", True), ("discoverable_by_email=false", False)):
        assert as_user(user).patch("/auth/users/me/", form, content_type=FORM).status_code == 200
        user.refresh_from_db()
        assert (user.username, user.discoverable_by_email) == ("lovelace", expected)


def test_the_words_true_and_false_are_booleans_in_a_form_only(as_user):
    """B1, B2"""
    client = as_user(make_user())
    for word in ("true", "false"):
        assert client.patch("/auth/users/me/", f"discoverable_by_email={word}", content_type=FORM).status_code == 200
        response = client.patch("/auth/users/me/", {"discoverable_by_email": word})
        assert fields_at_fault(response) == {"discoverable_by_email"}


@every_body
def test_a_file_is_no_text(operation, ready):
    """B2"""
    call = ready(operation)
    with nothing_stored():
        for field in operation.fields:
            parts = {name: value for name, value in call.body.items() if name != field}
            parts[field] = BytesIO(str(call.body.get(field, "x")).encode())
            response = call.send(encode_multipart(BOUNDARY, parts), MULTIPART_CONTENT)
            assert_names(response, operation, field, "a file")


@every_body
def test_other_formats_and_character_sets_are_refused(operation, ready):
    """B2"""
    call = ready(operation)
    others = ["text/plain", "application/xml", "text/xml", "", "json", "application/", "/", ";", "application/a+json"]
    others += [f"{JSON}; charset={name}" for name in ("utf-16", "latin-1", "unknown", "zlib", "undefined", "\xff")]
    others += [f"{FORM}; charset=utf-16", f"{MULTIPART_CONTENT}; charset=utf-16"]
    with nothing_stored():
        for content_type in others:
            response = call.send(json.dumps(call.body).encode(), content_type)
            assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type"), content_type
    for content_type in (f"{JSON}; charset=utf-8", f"{JSON};charset=UTF-8", f'{JSON}; charset="utf8"', JSON.upper()):
        with undone():
            assert call.send(content_type=content_type).status_code == operation.success


@every_operation
def test_a_client_that_takes_no_json_is_told_so(operation, ready):
    """B2"""
    call = ready(operation)
    with nothing_stored():
        for accept in ("text/html", "application/xml", "video/*", "text/json", "*", "a/b/c", ";", "a/b;c*=x''y"):
            assert call.send(HTTP_ACCEPT=accept).status_code == 406, accept


# --- Bodies that are not what they say ---

UNREADABLE = {
    "blanks": b" \r\n",
    "byte FF": b'{"a": "\xff"}',
    "overlong": b'{"a": "\xc0\xaf"}',
    "truncated character": b'{"a": "\xe2\x82"}',
    "surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "truncated": b'{"a": ',
    "trailing bytes": b'{"a": 1} {}',
    "trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "comment": b'{"a": 1} // b',
    "raw control character": b'{"a": "\x01"}',
    "name twice": b'{"a": 1, "a": 1}',
    "name twice, once escaped": b'{"a": 1, "\\u0061": 1}',
    "name twice, deep": b'{"a": [{"b": 1, "b": 2}]}',
    "33 deep": b'{"a": ' + 32 * b"[" + 32 * b"]" + b"}",
    "6,000 names": b"{" + b",".join(b'"%d":1' % number for number in range(6000)) + b"}",
    "60,000 brackets": 60_000 * b"[",
    "10,000 objects": 10_000 * b'{"a":',
}


@every_body
def test_a_body_that_is_no_json_is_refused_as_a_whole(operation, ready):
    """B3, B8, L2"""
    call = ready(operation)
    # Some clients announce JSON with every DELETE, also where there is no body to send.
    bodies = UNREADABLE if operation.method == "DELETE" else UNREADABLE | {"empty": b""}
    with nothing_stored():
        for body in bodies.values():
            assert_unreadable(call.send(body))


@every_body
def test_a_body_that_is_no_object_is_refused_as_a_whole(operation, ready):
    """B1"""
    call = ready(operation)
    with nothing_stored():
        for body in (b"[]", b"[{}]", b'"text"', b"1", b"true", b"null"):
            assert fields_at_fault(call.send(body)) == {None}, body


@every_body
def test_a_form_in_which_a_name_stands_twice_is_refused_as_a_whole(operation, ready):
    """B3: as in JSON, for two readers of one body must not see two different values."""
    call = ready(operation)
    twice = {name: [value, value] for name, value in (call.body or {"email": "ada@example.com"}).items()}
    with nothing_stored():
        assert_unreadable(call.send(urlencode(twice, doseq=True).encode(), FORM))
        assert_unreadable(call.send(encode_multipart(BOUNDARY, twice), MULTIPART_CONTENT))


def test_a_form_that_cannot_be_read_is_refused_as_a_whole(ready):
    """B3, B8"""
    call = ready(operation_named("POST /auth/users/"))
    many = b"&".join(b"a%d=1" % number for number in range(1001))
    part = b'--B\r\nContent-Disposition: form-data; name="email"; filename="x"\r\n'
    part += b"Content-Transfer-Encoding: base64\r\n\r\nx"
    with nothing_stored():
        for boundary in ("", "; boundary=", "; boundary=\xe9"):
            assert_unreadable(call.send(b"--B\r\n", f"multipart/form-data{boundary}"))
        assert_unreadable(call.send(part, "multipart/form-data; boundary=B"))
        assert call.send(many, FORM).json()["code"] == "bad_request"


def test_a_body_at_the_bounds_of_depth_and_number_is_read(ready):
    """B8"""
    call = ready(operation_named("POST /auth/users/reset_password/"))
    deep: list[object] = []
    for _level in range(30):
        deep = [deep]
    assert call.with_body(deep=deep).send().status_code == 204
    assert call.with_body(**{f"a{number}": number for number in range(999)}).send().status_code == 204


@every_body
def test_a_body_of_just_the_limit_is_read_and_one_byte_more_is_not(operation, ready):
    """B7, B8, L19"""
    call = ready(operation)
    whole = json.dumps(call.body).encode()
    too_large = [(whole.ljust(LIMIT + 1), JSON)]
    too_large += in_each_format(call.body | {next(iter(operation.fields)): "x" * 2**20})
    with nothing_stored():
        for raw, content_type in too_large:
            response = call.send(raw, content_type)
            assert (response.status_code, response.json()["code"]) == (413, "content_too_large")
    assert call.send(whole.ljust(LIMIT)).status_code == operation.success


# --- Paths, queries, headers and cookies ---


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.parameters("query")], ids=str)
def test_a_wrong_query_parameter_is_refused_by_name(operation, ready):
    """B1, B4, B6, B12"""
    call = ready(operation)
    wrong = ["%00", "a%00b", "%ED%A0%80", "%0d%0aX:y", "%E2%80%8B", "%ff", "%20", "x", "[]", "null", "true", ""]
    wrong += ["-1", "1.0", "%D9%A3", "0", "+5", "101", "1e400", "2147483648", "9223372036854775808", "9" * 5000]
    needed = {name for name, it in operation.parameters("query").items() if it.get("required")}
    good = {name: value for name, value in call.query.items() if name in needed}
    with nothing_stored():
        for name in operation.parameters("query"):
            for value in wrong:
                others = urlencode({other: good[other] for other in good if other != name})
                url = replace(call, query={}).url
                response = call.client.generic(operation.method, f"{url}?{others}&{name}={value}")
                assert fields_at_fault(response) == {name}, (name, value)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.parameters("path")], ids=str)
def test_a_wrong_path_parameter_is_not_found(operation, ready):
    """B4, B6, L22"""
    call = ready(operation)
    wrong = ["%00", "a%00b", "%ED%A0%80", "%ff", "%0d%0aX:y", "%E2%80%8B", "%E2%80%AE", "null", "%7B%7D", "%5B%5D"]
    wrong += ["-1", "1.0", "%D9%A3", "1e400", "9" * 400]
    with nothing_stored():
        for value in wrong:
            call.path.update(dict.fromkeys(call.path, value))
            assert call.send().status_code == 404, value


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if "id" in o.parameters("path")], ids=str)
def test_an_id_that_no_column_can_hold_is_an_id_of_nobody(operation, ready, as_user):
    """B6"""
    call, boss = ready(operation), as_user(make_user(is_staff=True, is_superuser=True))
    for id_ in ("0", "2147483648", "9223372036854775807", "9223372036854775808", "9" * 19):
        call.path["id"] = id_
        assert call.send().status_code == 403
        assert boss.get(call.url).status_code == 404


WITH_A_SESSION = ["POST /auth/o/{provider}/"]  # its state is bound to a cookie


@every_operation
def test_a_header_that_is_no_token_opens_nothing(operation, api):
    """B4, B8"""
    world = make_world()
    no_tokens = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer %00",
        "Bearer \xff\xfe",
        "Token x",
        "Basic eA==",
        "\xff",
    ]
    no_tokens += [f"Bearer {bomb}" for bomb in (60_000 * "[", f"{'e30.' * 15_000}x", "." * 60_000, "a.b.c")]
    for authorization in no_tokens:
        with undone():
            response = call_of(operation, world, api).send(HTTP_AUTHORIZATION=authorization)
        may = (
            {401}
            if operation.signed_in
            else {401, operation.success}
            if operation.knows_tokens
            else {operation.success}
        )
        assert response.status_code in may, authorization[:20]


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if str(o) not in WITH_A_SESSION], ids=str)
def test_strange_headers_and_cookies_change_nothing(operation, ready):
    """B4, B12, B13: nor does a method that a header names, nor a format that the query does."""
    call, before = ready(operation), stored()
    strange = {
        "HTTP_COOKIE": f'sessionid="\\000{"a" * 32}"; csrftoken=\xff; messages=%00; django_language=../../etc',
        "HTTP_ACCEPT_LANGUAGE": f"\xff,*;q=x,../../../etc/passwd,en-{'a' * 5000}",
        "HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE",
        "HTTP_X_METHOD_OVERRIDE": "DELETE",
        "HTTP_X_FORWARDED_HOST": "localhost",
        "HTTP_X_FORWARDED_FOR": "\xff, 256.0.0.1",
        "HTTP_RANGE": "bytes=0-0",
        "HTTP_IF_NONE_MATCH": "*",
    }
    done = []
    for headers, query in (({}, {}), (strange, {"format": "xml", "_method": "DELETE", "page": "abc", "": ""})):
        call.query.update({name: text for name, text in query.items() if name not in operation.parameters("query")})
        with undone():
            assert call.send(**headers).status_code == operation.success
            done.append(changes(before, stored())[0])
    assert done[0] == done[1]


PAGES = ["/", "/redoc/", "/swagger/", "/api/schema/", "/admin/", "/admin/login/", "/r/NONE", "/account/activate/a/b/"]


@pytest.mark.parametrize("path", PAGES)
def test_no_query_and_no_cookie_breaks_a_page(path, client):
    """B4: PostgreSQL cannot hold a NUL, and Django would ask it for a session of that name."""
    client.raise_request_exception = False
    for name in ("q", "lang", "version", "script", "next", "format"):
        for value in ("%00", "%0d%0aX:%20y", "%ED%A0%80", "x" * 5000):
            assert client.get(f"{path}?{name}={value}").status_code < 500, (name, value)
    for cookie in ('sessionid="\\000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"', 'csrftoken="\\000"', 'messages="\\000"'):
        assert client.get(path, HTTP_COOKIE=cookie).status_code < 500, cookie


@pytest.mark.parametrize("table", ["users/user", "users/outgoingemail", "referrals/referralcode", "referrals/referral"])
def test_a_nul_breaks_no_page_of_the_admin(table, admin_client):
    """B4"""
    admin_client.raise_request_exception = False
    for query in ("q=%00", "username=%00", "owner__username__startswith=a%00", "id=%00", "state=%00", "o=%00", "p=%00"):
        assert admin_client.get(f"/admin/{table}/?{query}").status_code < 500, query
    for path in ("%00/change/", "_00/change/", "1%00/history/"):
        assert admin_client.get(f"/admin/{table}/{path}").status_code < 500, path


def test_a_visitor_cannot_fill_the_memory_with_languages(api):
    plain = api.get("/api/schema/").content
    known = set(trans_real._translations)
    assert api.get("/api/schema/?lang=xx&version=2").content == plain
    assert set(trans_real._translations) == known


CONTENT_TYPES = [
    *(f"text/plain; charset={name}" for name in ("zlib", "undefined", "punycode", "utf-16", "\xff", "", "a" * 10_000)),
    "text/plain; a*=unknown''b",
    "text/plain; a*=undefined''b",
]


@pytest.mark.parametrize("path", ["/", "/api/referral-code/", "/auth/users/me/", "/admin/login/"])
def test_a_content_type_of_nonsense_breaks_nothing(path):
    """B2: Django reads it before any view can help, and decodes the query by it."""
    for content_type in CONTENT_TYPES:
        assert through_wsgi("GET", f"{path}?email=%D0%B6", CONTENT_TYPE=content_type) in (200, 401), content_type
        if path.startswith("/auth"):
            body = {"CONTENT_LENGTH": "2", "wsgi.input": BytesIO(b"{}")}
            assert through_wsgi("POST", "/auth/jwt/create/", CONTENT_TYPE=content_type, **body) == 415, content_type


def test_a_length_of_nonsense_breaks_nothing():
    """B7: the server refuses most of these itself; others may not."""
    for length in ("abc", "-1", "1.5", "\xb2", "+1", "9" * 5000):
        assert through_wsgi("POST", "/auth/jwt/create/", CONTENT_TYPE=JSON, CONTENT_LENGTH=length) == 400, length


def through_wsgi(method, url, **environ):
    """The status of a request to what the server runs, which is more than what the test client does."""
    path, _mark, query = url.partition("?")
    plain = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": "localhost"}
    plain |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": BytesIO()}
    statuses = []
    request_started.disconnect(close_old_connections)  # as Django's own test client does
    try:
        application(plain | environ, lambda status, headers: statuses.append(status))
    finally:
        request_started.connect(close_old_connections)
    return int(statuses[0].split()[0])


# --- When a code may end, and other things that only one field knows ---


@pytest.mark.parametrize(("clock", "day", "code"), [("23:59:01", 0, "too_soon"), ("12:00:00", 5, "too_late")])
def test_a_bare_date_is_judged_by_its_end(clock, day, code, monkeypatch, as_user):
    """B9: today's end is less than a minute off, and that of the day five years ahead is more than five years."""
    today = timezone.now().date().replace(day=15) + timedelta(days=31)
    now = datetime.combine(today, day_time.fromisoformat(clock), UTC)
    monkeypatch.setattr("referrals.serializers.timezone", SimpleNamespace(now=lambda: now))
    wish = today.replace(year=today.year + day)
    client = as_user(make_user())
    refused = client.post("/api/referral-code/", {"expiration_date": wish.isoformat()})
    assert refused.json()["errors"][0]["code"] == code
    wish += timedelta(days=1 if code == "too_soon" else -1)
    issued = client.post("/api/referral-code/", {"expiration_date": wish.isoformat()})
    assert issued.json()["expiration_date"] == f"{wish}T23:59:59.999999Z"


def test_what_is_no_moment_to_end_at_is_refused(ready):
    """B9, L21"""
    call, year = ready(operation_named("POST /api/referral-code/")), timezone.now().year + 1
    arabic = "".join(chr(0x0660 + int(digit)) for digit in str(year))
    wrong = ["9999-12-31", "9999-12-31T23:59:59-14:00", "10000-01-01", "0001-01-01", "0001-01-01T00:00:00+14:00"]
    wrong += ["tomorrow", "now", "P1D", str(10**10), f"{arabic}-06-30", f"-{year}-06-30", f"{year}0630", f"{year}-6-30"]
    wrong += [f"{year}-{rest}" for rest in ("02-30", "13-01", "W26-3", "181", "06-30 12:00:00Z", "06-30t12:00:00Z")]
    hours = ["23:59:60Z", "24:00:00Z", "12:60:00Z", "12:00:00+25:00", "12:00:00+24:00", "12:00:00", "12:00", "12Z", ""]
    hours += ["12:00:00+0100", "12:00:00z", "12:00:00,5Z", "12:00:00.1234567Z", "12:00:00\u221201:00"]
    wrong += [f"{year}-06-30T{hour}" for hour in hours]
    with nothing_stored():
        for value in wrong:
            assert fields_at_fault(call.with_body(expiration_date=value).send()) == {"expiration_date"}, value


NO_ADDRESSES = ["ada", "@example.com", "ada@", "ada@localhost", "ada@[127.0.0.1]", "ada@[IPv6:::1]", "ada@127.0.0.1"]
NO_ADDRESSES += ['"ada"@example.com', "ada@example..com", "a..da@example.com", ".ada@example.com", "ada@-example.com"]
NO_ADDRESSES += ["ada@exa_mple.com", "ada@eve@example.com", "ada(eve)@example.com", "ada@xn--a.com", "ada@stra\xdfe.de"]
NO_ADDRESSES += ["\u0430da@example.com", "ad\u0131@example.com", "\u212ada@example.com", "\ufb01@example.com"]
NO_ADDRESSES += ['"a b"@example.com', f"{'a' * 65}@example.com", f"ada@{'b' * 64}.com", f"ada@{'a.' * 125}com"]


@every_body
def test_what_is_no_address_is_refused_wherever_one_is_asked_for(operation, ready):
    """B10, L11, L23"""
    call = ready(operation)
    with nothing_stored():
        for field in (name for name, about in operation.fields.items() if about.get("format") == "email"):
            for value in NO_ADDRESSES:
                assert_names(call.with_body(**{field: value}).send(), operation, field, value)


def test_a_code_is_found_however_it_is_typed(api):
    """B11"""
    code = make_code(wish="GO-LIL-01")
    spellings = ["go-lil-01", "G0L1L01", " g 0 l i l 0 1 ", "GOIIIOI", "--go--111--o1--", "gO-lIl-Oi"]
    for number, typed in enumerate(spellings):
        assert api.get(f"/api/referral-code/{typed}/").json()["code"] == "GO-LIL-01", typed
        assert api.get(f"/r/{typed}").status_code == 200, typed
        body = {"email": f"ada{number}@example.com", "password": PASSWORD, "referral_code": typed}
        assert api.post("/api/register-with-referral/", body).json()["referrer"] == {"username": code.owner.username}


def test_what_is_no_code_is_answered_as_an_unknown_an_expired_and_a_deleted_one(api, as_user):
    """B11"""
    make_code(wish="GO-LIL-01")
    deleted = make_code(wish="DELETED-1")
    as_user(deleted.owner).delete("/api/referral-code/")
    typed = ["UNKNOWN-1", make_expired_code(code="EXPIRED-1").code, deleted.code, "GO-LIL-02", "GO-LIL-0", "GO-LIL-011"]
    typed += [
        "GO_LIL_01",
        "GO.LIL.01",
        "\u0413O-LIL-01",
        "GO-LIL-\u0660\u0661",
        "\uff27O-LIL-01",
        "GO-L\u0131L-01",
        "x" * 33,
    ]
    typed += ["-" * 12, "' OR 1=1 --", "%25", "*"]
    seen = [without_id(api.get(f"/api/referral-code/{code}/")) for code in typed]
    assert (seen[0]["status"], seen[0]["code"]) == (404, "no_active_code")
    assert all(problem == seen[0] for problem in seen)
    for path in ("/auth/users/", "/api/register-with-referral/"):
        with nothing_stored():
            bodies = [NEWCOMER | {"password": PASSWORD, "referral_code": code} for code in typed]
            problems = [without_id(api.post(path, body)) for body in bodies]
        [error] = problems[0]["errors"]
        assert (error["field"], error["code"]) == ("referral_code", "invalid_code")
        assert all(problem == problems[0] for problem in problems)


def test_a_page_of_a_list_is_asked_for_in_no_other_way(as_user):
    """B12, L24, Z7: what is not known changes nothing, and what is known cannot be made up."""
    code = make_code()
    for _number in range(3):
        make_referral(code)
    client, path = as_user(code.owner), f"/api/referrals/{code.owner_id}/"
    plain = client.get(path).json()["results"]
    unknown = [
        "offset=10000000000000000000",
        "page=abc",
        "page=-1",
        "ordering=password",
        "ordering=-email",
        "search=%00",
    ]
    unknown += ["fields=password", "expand=referred", "referred__password__startswith=a", "format=xml", "email=x"]
    unknown += ["limit=1&limit=20", "%00=1", "=", "&&&", "limit%00=1", "&".join(f"a{n}=1" for n in range(900))]
    for query in unknown:
        assert client.get(f"{path}?{query}").json()["results"] == plain, query
    assert client.get(f"{path}?{'&'.join(f'a{n}=1' for n in range(1100))}").status_code == 400

    cursor = re.search(r"cursor=([^&]+)", client.get(f"{path}?limit=1").json()["next"])[1]
    payload, _colon, signature = cursor.partition("%3A")
    made_up = [
        f"x{cursor}",
        f"{cursor}x",
        payload,
        f"{payload}%3A",
        f"%3A{signature}",
        f"{payload[:-2]}AA%3A{signature}",
    ]
    for wrong in [*made_up, f"{payload}%3A{signature[::-1]}", "cD0x", "bz0xMDAwMDAwMDAwMDAwMDAwMDAw", "%C3%A9"]:
        assert fields_at_fault(client.get(f"{path}?cursor={wrong}")) == {"cursor"}, wrong
    assert client.get(f"{path}?cursor={cursor}").status_code == 200


# --- Methods and paths ---

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "PROPFIND"]


def url_of(path, ready):
    call = ready(next(o for o in OPERATIONS if o.path == path))
    call.query.clear()
    return call.url


@every_path
def test_a_method_that_a_path_does_not_know_is_refused_with_those_it_knows(path, ready, as_user):
    """B13"""
    url, client = url_of(path, ready), as_user(User.objects.get(username="ada"))
    known = {o.method for o in OPERATIONS if o.path == path}
    with nothing_stored():
        for method in METHODS:
            if method in known or (method == "HEAD" and "GET" in known and path != "/api/referral-code/email/"):
                continue
            response = client.generic(method, url, b"{}", content_type=JSON)
            assert response.status_code == 405, method
            allowed = set(response["Allow"].split(", "))
            assert known <= allowed
            assert method not in allowed


@every_path
def test_a_missing_slash_costs_a_get_a_redirect_and_no_other_method_its_body(path, ready, as_user):
    """B13"""
    url, client = url_of(path, ready), as_user(User.objects.get(username="ada"))
    with nothing_stored():
        for method in ("GET", "HEAD"):
            response = client.generic(method, f"{url[:-1]}?limit=1")
            assert (response.status_code, response["Location"]) == (301, f"{url}?limit=1")
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"):
            response = client.generic(method, url[:-1], b"{}", content_type=JSON)
            assert response.status_code == 404
            assert f" {url}, " in response.json()["detail"]


@every_path
def test_a_path_with_something_odd_in_it_is_not_found(path, ready, as_user):
    """B13"""
    url, client = url_of(path, ready), as_user(User.objects.get(username="ada"))
    _empty, root, rest = url.split("/", 2)
    odd = [f"//{root}/{rest}", f"/{root}//{rest}", f"{url}/", f"/{root}/../{root}/{rest}", f"/{root}/./{rest}"]
    odd += [f"/{root}/%2e%2e/{root}/{rest}", f"/{root};x=/{rest}", f"{url};x=/", f"/{root.upper()}/{rest}"]
    odd += [f"/{root}%00/{rest}", f"{url}%00/", f"{url}%20/", f"{url}x.json/"]
    odd += [] if "{code}" in path else [f"{url[:-1]}.json/", f"{url[:-1]};x=/", f"{url[:-1]}%00/", f"{url[:-1]}x/"]
    with nothing_stored():
        for url in odd:
            for method in ("GET", "POST", "DELETE"):
                status = client.generic(method, url, b"{}", content_type=JSON).status_code
                # Whatever stands under /api/referral-code/ is a code, and there is nothing but GET for those.
                is_code = "/referral-code/" in url and method != "GET"
                assert status == 404 or (is_code and status == 405), (method, url)


# --- Fields that are nobody's to set, and characters that mean something to somebody ---


@every_body
def test_fields_that_are_not_known_change_nothing(operation, ready):
    """B14: what a body changes in the database is the same with and without them."""
    call, before = ready(operation), stored()
    planted = {
        True: ["is_staff", "is_superuser", "is_active", "email_verified", "admin"],
        987_654_321: ["id", "pk", "user", "user_id", "owner", "owner_id", "referrer", "referrer_id", "referred"],
        987_654_322: ["code_id", "token_version", "groups", "user_permissions", "ver", "sub"],
        "planted": ["status", "language", "folded", "share_url", "current", "_state", "__class__"],
        "2001-01-01T00:00:00Z": ["created_at", "expires_at", "retired_at", "registered_at", "closed_at", "last_login"],
    }
    unknown = {name: value for value, names in planted.items() for name in names}
    assert not unknown.keys() & operation.fields.keys()
    done = []
    for body in (call.body, call.body, unknown | call.body):
        with undone():
            assert call.send(json.dumps(body).encode()).status_code == operation.success
            done.append(changes(before, stored()))
    (words, one), (_words, other), (words_with_unknown, got) = done
    assert words_with_unknown == words
    for first, second, row in zip(one, other, got, strict=True):
        for column, value in row.items():
            if first[column] == second[column] and column != "session_data":  # which is signed with the second
                assert value == first[column], column
            for trace in ("planted", "98765432", "2001-01-01"):
                assert trace not in str(value), column


META = ["' OR 1=1 --", '"; DROP TABLE users_user; --', "{{7*7}}", "${jndi:ldap://x}", "../../etc/passwd"]
META += ["<script>alert(1)</script>", "%s%n%x", "%00", "=cmd|x", "`id`", "\\"]


@every_body
def test_meta_characters_are_refused_or_stored_to_the_letter(operation, ready):
    """B15"""
    call, before = ready(operation), stored()
    kept = 0
    for field, about in operation.fields.items():
        for meta in META:
            value = f"{meta}@example.com" if about.get("format") == "email" else f"{meta} and more of it"
            with undone():
                response = call.with_body(**{field: value}).send()
                words, new = changes(before, stored())
            if response.status_code >= 400:
                assert words == [], (field, value)
            elif "password" in field:
                assert any(User(password=row.get("password", "")).check_password(value) for row in new), (field, value)
                kept += 1
            elif field in ("email", "new_email"):
                assert value in str([row.get("to") or row.get("email") for row in new]) or not words, (field, value)
                kept += 1
    assert kept or not operation.fields.keys() & {"email", "new_email", "new_password"} or "jwt" in operation.path


def test_an_address_of_meta_characters_is_inert_wherever_it_is_shown(api, admin_client):
    """B15, L23"""
    for local in ("{{7*7}}", "a'or'1'='1", "${jndi}", "%s%n", "=cmd|x", "+1", "a&b", "`id`", "a/b"):
        address = f"{local}@example.com"
        assert api.post("/auth/users/", {"email": address, "password": PASSWORD}).json()["email"] == address
        assert OutgoingEmail.objects.filter(to=address).count() == 1
        for table in ("users/user", "users/outgoingemail"):
            page = admin_client.get(f"/admin/{table}/").content.decode()
            assert escape(address) in page
            assert address == escape(address) or address not in page


# --- The real server ---


@pytest.mark.slow
def test_the_server_reads_a_body_of_just_the_limit_however_its_length_is_told(service):
    """B7"""
    whole = json.dumps({"email": "nobody@example.com"}).encode()
    for path in ("/auth/users/reset_password/", "/auth/users/resend_activation/"):
        for raw, status in ((whole, 204), (whole.ljust(LIMIT), 204), (whole.ljust(LIMIT + 1), 413)):
            told, chunked = httpx_post(service, path, raw), httpx_post(service, path, iter([raw[:9], raw[9:]]))
            assert (told.status_code, chunked.status_code) == (status, status)
            if status == 413:
                assert told.json()["code"] == chunked.json()["code"] == "content_too_large"
    assert raw_status(service, b"", whole) == 400  # neither a length nor chunks: there is no body
    assert raw_status(service, b"Content-Length: abc\r\n", whole) == 400
    assert raw_status(service, b"Content-Length: 1\r\nContent-Length: 2\r\n", whole) == 400


@pytest.mark.slow
def test_a_body_of_ten_megabytes_is_refused_and_not_kept(service):
    """B7"""
    for content in (b"x" * 10_000_000, iter([b"x" * 100_000] * 100)):  # what is made once is not kept of a body
        assert httpx_post(service, "/auth/users/reset_password/", content).status_code == 413
    time.sleep(2)  # the mails that the tests before asked for are looked into after their answers
    before = resident(service)
    for _time in range(5):
        for content in (b"x" * 10_000_000, iter([b"x" * 100_000] * 100)):
            assert httpx_post(service, "/auth/users/reset_password/", content).status_code == 413
    assert resident(service) - before < 20 * 2**20
    assert httpx_post(service, "/auth/users/reset_password/", b'{"email": "nobody@example.com"}').status_code == 204


@pytest.mark.slow
def test_the_server_is_not_broken_by_what_comes_ahead_of_a_body(service):
    """B2, B4, B8"""
    for header in (
        b"Content-Type: text/plain; charset=zlib",
        b"Content-Type: text/plain; a*=unknown''b",
        b"X-Bomb: " + b"[" * 60_000,
        b"X-Bomb: " + b"[" * 600_000,
        b"Cookie: sessionid=" + b"a" * 20_000,
        b'Cookie: sessionid="\\000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"',
        b"X-Nul: a\x00b",
    ):
        for path in (b"/?a=b", b"/admin/?a=b", b"/api/schema/?version=%0d%0aX:y", b"/%ff/%00"):
            assert raw_status(service, header + b"\r\n", b"", b"GET " + path) < 500, (header[:40], path)


def httpx_post(service, path, content):
    return httpx.post(service.url + path, content=content, headers={"Content-Type": JSON}, timeout=30)


def raw_status(service, headers, body, line=b"POST /auth/users/reset_password/"):
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(line + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n")
        if b"Content-Type" not in headers and body:
            connection.sendall(b"Content-Type: application/json\r\n")
        connection.sendall(headers + b"\r\n" + body)
        return int(connection.recv(65536).split()[1])


def resident(service):
    """Bytes of memory that the processes of this service hold."""
    ours = f"PORT={urlsplit(service.url).port}\0".encode()
    pages = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if ours in (process / "environ").read_bytes() and b"config.serve" in (process / "cmdline").read_bytes():
                pages += int((process / "statm").read_text().split()[1])
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    assert pages
    return pages * os.sysconf("SC_PAGE_SIZE")


# --- The checks of the checks ---


def test_a_difference_in_the_database_is_seen():
    """G3"""
    user = make_user()
    with pytest.raises(AssertionError), nothing_stored():
        User.objects.filter(pk=user.pk).update(discoverable_by_email=False)
    with pytest.raises(AssertionError), nothing_stored():
        make_code(user, expires_at=tomorrow())
    with pytest.raises(AssertionError), nothing_stored():
        ReferralCode.objects.all().delete()
    before = stored()
    User.objects.filter(pk=user.pk).update(is_staff=True)
    assert changes(before, stored())[0] == [f"users.User {user.pk} is_staff"]


def test_every_field_of_the_schema_is_under_test():
    fields = {(str(operation), field) for operation in OPERATIONS for field in operation.fields}
    assert len(fields) >= 33
    assert {field for _operation, field in fields} >= {"email", "password", "username", "referral_code", "code", "uid"}


@every_body
def test_what_the_page_of_another_site_has_a_browser_send_is_not_looked_at(operation, ready):
    """H3, T0: so that nobody's limits are used up by a page that they visit."""
    call = ready(operation)
    _json, form, _multipart = in_each_format(call.body)
    with nothing_stored():
        response = call.client.generic(operation.method, call.url, *form, headers={"Sec-Fetch-Site": "cross-site"})
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")


def test_each_request_has_fields_of_its_own():
    one, other = (RegisterSerializer(data={}) for _request in range(2))
    for name, field in one.fields.items():
        assert field is not other.fields[name]
        assert (field.parent, other.fields[name].parent) == (one, other)
