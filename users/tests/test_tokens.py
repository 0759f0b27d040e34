"""Signing in and staying signed in."""

import base64
import hmac
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.apps import apps
from django.conf import settings
from django.core import serializers
from django.utils import timezone
from rest_framework_simplejwt.utils import datetime_to_epoch

from users import services
from users.models import TokenFamily, User, digest
from users.tests.factories import PASSWORD, make_user
from users.tokens import AccessToken, RefreshToken

pytestmark = pytest.mark.django_db

ME = "/auth/users/me/"
LOG_IN, REFRESH, VERIFY, LOG_OUT = (f"/auth/jwt/{name}/" for name in ("create", "refresh", "verify", "logout"))
ABSENT = object()


def signed(claims: Any, key: str = settings.JWT_SIGNING_KEY, hash_name: str = "sha256", **header: Any) -> str:
    """A token made by hand, so that no library tidies it up."""
    parts = [
        base64.urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT"} | header, claims)
    ]
    signature = hmac.new(key.encode(), b".".join(parts), hash_name).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def claims_of(token: Any, **changes: Any) -> dict[str, Any]:
    claims = token.payload | {"iss": settings.PUBLIC_URL, "aud": settings.PUBLIC_URL} | changes
    return {name: value for name, value in claims.items() if value is not ABSENT}


def answer(response) -> tuple:
    """All of an answer but the request's id."""
    body = response.json() | {"request_id": None}
    return response.status_code, body, dict(response.headers) | {"X-Request-ID": None}


def is_taken(api, token: str, scheme: str = "Bearer") -> bool:
    """Whether the API takes an access token; `verify` says the same (L6, U10)."""
    statuses = {
        api.get(ME, headers={"Authorization": f"{scheme} {token}"}).status_code,
        api.post(VERIFY, {"token": token}).status_code,
    }
    assert statuses in ({200}, {401})
    return statuses == {200}


def log_in(api, user: User) -> dict[str, str]:
    response = api.post(LOG_IN, {"email": user.email, "password": PASSWORD})
    assert response.status_code == 200
    return response.json()


def refreshed(api, pair: dict[str, str]) -> dict[str, str] | None:
    response = api.post(REFRESH, {"refresh": pair["refresh"]})
    assert response.status_code in (200, 401)
    return response.json() if response.status_code == 200 else None


@pytest.mark.parametrize(
    "login",
    [
        {"email": "Ada@Example.com"},
        {"email": " ada@example.com "},
        {"username": "ADA"},
        {"username": "ada@EXAMPLE.com"},
        {"email": "ada"},
        {"email": "ada@example.com", "username": "somebody"},
    ],
)
def test_the_address_or_the_username_lets_in_whatever_its_case(api, login):
    """U4, L11; where both are given the address counts."""
    make_user(email="ada@example.com", username="Ada")
    pair = api.post(LOG_IN, login | {"password": PASSWORD}).json()
    assert is_taken(api, pair["access"])
    assert refreshed(api, pair)


def test_without_a_name_nobody_is_let_in(api):
    response = api.post(LOG_IN, {"password": PASSWORD})
    assert [(e["field"], e["code"]) for e in response.json()["errors"]] == [("email", "required")]


def test_every_failed_login_gets_one_and_the_same_answer(api):
    """U5, N1, N6"""
    blocked, social = make_user(is_active=False), make_user(password=None)
    closed = make_user()
    services.close_account(closed)
    closed.refresh_from_db()
    attempts = [
        {"email": "nobody@example.com", "password": PASSWORD},
        {"username": "nobody", "password": PASSWORD},
        {"email": "nonsense@", "password": PASSWORD},
        {"email": make_user().email, "password": "wrong horse battery"},
        {"username": make_user().username, "password": PASSWORD.upper()},
        {"email": blocked.email, "password": PASSWORD},
        {"username": blocked.username, "password": "wrong horse battery"},
        {"username": social.username, "password": PASSWORD},
        {"username": closed.username, "password": PASSWORD},
    ]
    first, *others = [answer(api.post(LOG_IN, attempt)) for attempt in attempts]
    assert first[0] == 401
    assert first[1]["code"] == "no_active_account"
    assert all(other == first for other in others)


def test_an_access_token_says_no_more_than_it_must_and_lives_a_quarter_of_an_hour(api):
    """U6"""
    user = make_user()
    pair = log_in(api, user)
    access, refresh = AccessToken(pair["access"]).payload, RefreshToken(pair["refresh"]).payload
    assert set(access) == {"iss", "aud", "jti", "iat", "exp", "typ", "sub", "ver", "auth_time"}
    assert access["exp"] - access["iat"] == 15 * 60
    assert refresh["exp"] - refresh["iat"] == 14 * 24 * 3600
    assert refresh["end"] - refresh["iat"] == 90 * 24 * 3600


@pytest.mark.parametrize(("scheme", "taken"), [("bearer", True), ("BEARER ", True), ("Bear", False), ("Token", False)])
def test_the_word_bearer_is_taken_in_any_case(api, scheme, taken):
    """U6"""
    token = str(RefreshToken.for_user(make_user()).access_token)
    assert (api.get(ME, headers={"Authorization": f"{scheme} {token}"}).status_code == 200) is taken


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer a b", "Bearer a.b.c", "Bearer ÿ", "", "x"])
def test_what_is_no_token_is_a_401(api, value):
    """U6"""
    response = api.get(ME, headers={"Authorization": value})
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_stale_token_keeps_nobody_from_an_open_call(api):
    api.credentials(HTTP_AUTHORIZATION="Bearer stale")
    assert api.post("/auth/users/", {"email": "ada@example.com", "password": PASSWORD}).status_code == 201
    assert api.post("/auth/users/reset_password/", {"email": "ada@example.com"}).status_code == 204
    assert api.post(LOG_IN, {"email": "ada@example.com", "password": PASSWORD}).status_code == 200


DEEP = b'{"a":' * 6_000 + b"1" + b"}" * 6_000


@pytest.mark.parametrize(
    "changes",
    [
        {"alg": "none"},
        {"alg": "none", "key": ""},
        {"alg": "HS512", "hash_name": "sha512"},
        {"alg": "RS256"},
        {"alg": None},
        {"alg": ["HS256"]},
        {"key": "another key, thirty-two bytes or more"},
        {"key": settings.SECRET_KEY},
        {"key": "evil", "kid": "evil", "jku": "http://127.0.0.1/keys", "x5u": "http://127.0.0.1/key"},
        {"key": "evil", "jwk": {"kty": "oct", "k": "ZXZpbA"}},
        {"key": "/dev/null", "kid": "../../dev/null"},
        {"crit": ["x"], "x": 1},
        {"crit": []},
        {"b64": False},
    ],
)
def test_a_token_that_is_signed_in_another_way_is_refused(api, changes):
    """U6"""
    claims = claims_of(RefreshToken.for_user(make_user()).access_token)
    assert is_taken(api, signed(claims))
    assert not is_taken(api, signed(claims, **changes))


WHOLE = ["abc", "", "-1", "1.0", "\x00", "1\x00", " 1", "1_0", "٣", "\ud800", -1, 0.5, 1.0, 2**63, 10**30, str(10**30)]
OTHER = [None, True, False, [], {}, [1], {"a": 1}, ABSENT]
TIME = ["abc", "9999999999999", 1e20, 10**30, float("inf"), float("nan"), [], {}]
BAD_ACCESS = [
    *[{claim: value} for claim in ("sub", "ver") for value in [*WHOLE, *OTHER, 2**63 - 1]],
    *[{claim: value} for claim in ("exp", "iat", "nbf") for value in TIME],
    *[{"exp": value} for value in [ABSENT, None, True, 0, -1, 1]],
    *[{"typ": value} for value in [ABSENT, None, "refresh", "ACCESS", [], {}, 5]],
    *[{claim: value} for claim in ("iss", "aud") for value in [ABSENT, None, "http://evil", "", [], {}, 5, True]],
    {"jti": ABSENT},
]
BAD_REFRESH = [
    *[{claim: value} for claim in ("sub", "ver", "fam") for value in [*WHOLE, *OTHER, 2**63 - 1]],
    *[{"end": value} for value in [*WHOLE, *OTHER]],
    *[{"jti": value} for value in [*WHOLE, *OTHER, "x" * 9000]],
    *[{"exp": value} for value in [*TIME, ABSENT, None, True, 0]],
    *[{"typ": value} for value in [ABSENT, None, "access", []]],
    {"aud": "http://evil"},
    {"iss": "http://evil"},
]


def test_no_claim_under_a_good_signature_breaks_the_api(api):
    """U7, U6"""
    token = RefreshToken.for_user(make_user()).access_token
    for changes in BAD_ACCESS:
        assert not is_taken(api, signed(claims_of(token, **changes))), changes
    for claims in ([], "x", 5, None, b"", b"\xff", b"{", DEEP):
        assert not is_taken(api, signed(claims)), claims
    assert is_taken(api, signed(claims_of(token)))


def test_no_claim_of_a_refresh_token_breaks_the_api(api):
    """U7"""
    for changes in BAD_REFRESH:
        token = RefreshToken.for_user(make_user())
        forged = signed(claims_of(token, **changes))
        assert api.post(REFRESH, {"refresh": forged}).status_code == 401, changes
        if "fam" in changes:
            assert api.post(LOG_OUT, {"refresh": forged}).status_code == 401, changes


def change_password(user: User) -> None:
    services.set_password(user, "staple under the moon")


def block(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.parametrize("what", [User.delete, services.close_account, block, change_password])
def test_what_ends_an_account_or_its_password_ends_all_its_tokens_at_once(api, what):
    """U8, U9, U10, L3, L4, L6"""
    user, other = make_user(), make_user()
    pair, others = log_in(api, user), log_in(api, other)
    assert is_taken(api, pair["access"])
    what(user)
    assert not is_taken(api, pair["access"])
    assert refreshed(api, pair) is None
    assert is_taken(api, others["access"])
    assert refreshed(api, others)


def test_verify_refuses_a_refresh_token_and_a_made_up_one(api):
    """U10, L6"""
    refresh = str(RefreshToken.for_user(make_user()))
    assert not is_taken(api, refresh)
    assert answer(api.post(VERIFY, {"token": refresh})) == answer(api.post(VERIFY, {"token": "made.up.token"}))


def test_each_refresh_token_works_once_and_its_successor_lives_on(api):
    """C6, L5: shown again within ten seconds, as two tabs of one browser do, an old one harms nobody."""
    first = log_in(api, make_user())
    second = refreshed(api, first)
    assert is_taken(api, second["access"])
    assert refreshed(api, first) is None
    assert refreshed(api, second)


def test_an_old_refresh_token_shown_later_ends_the_login_and_no_other(api):
    """C6, L5"""
    user = make_user()
    first, elsewhere = log_in(api, user), log_in(api, user)
    second = refreshed(api, first)
    TokenFamily.objects.update(rotated_at=timezone.now() - TokenFamily.REUSE_GRACE - timedelta(seconds=1))
    assert refreshed(api, first) is None
    assert refreshed(api, second) is None
    assert refreshed(api, elsewhere)


def test_no_refresh_token_outlives_the_90_days_of_its_login(api):
    """U12"""
    token = RefreshToken.for_user(make_user())
    end = timezone.now() + timedelta(hours=1)
    pair = refreshed(api, {"refresh": signed(claims_of(token, end=datetime_to_epoch(end)))})
    assert RefreshToken(pair["refresh"])["exp"] == datetime_to_epoch(end)
    TokenFamily.objects.update(expires_at=timezone.now())
    assert refreshed(api, pair) is None


def test_a_token_says_when_its_owner_signed_in_however_often_it_was_renewed(api):
    """U15, U16"""
    token = RefreshToken.for_user(make_user())
    assert token["auth_time"] == token.access_token["auth_time"] == token["iat"]
    pair = {"refresh": signed(claims_of(token, auth_time=token["iat"] - 1000))}
    for _renewal in range(2):
        pair = refreshed(api, pair)
        assert AccessToken(pair["access"])["auth_time"] == token["iat"] - 1000


@pytest.mark.parametrize(
    ("age", "fresh"), [(0, True), (300, True), (301, False), (10**30, False), (-1, False), (-(10**30), False)]
)
def test_a_login_is_fresh_for_five_minutes(age, fresh):
    """U15, U16"""
    token = AccessToken()
    token["auth_time"] = token["iat"] - age
    assert token.is_fresh is fresh


@pytest.mark.parametrize("nonsense", [None, "now", "", 1.5, float("nan"), True, [], {}])
def test_a_login_of_nobody_knows_when_is_not_fresh(nonsense):
    """U7: nor is one of before tokens said so."""
    token = AccessToken()
    assert not token.is_fresh
    token["auth_time"] = nonsense
    assert not token.is_fresh


def test_signing_out_ends_the_login_and_no_other(api):
    """U11"""
    user = make_user()
    pair, elsewhere = log_in(api, user), log_in(api, user)
    response = api.post(LOG_OUT, {"refresh": pair["refresh"]})
    assert (response.status_code, response.content) == (204, b"")
    assert refreshed(api, pair) is None
    assert api.post(LOG_OUT, {"refresh": pair["refresh"]}).status_code == 401
    assert api.post(LOG_OUT, {"refresh": pair["access"]}).status_code == 401
    assert refreshed(api, elsewhere)


def test_every_refused_token_gets_one_and_the_same_answer(api):
    """N1"""
    user = make_user()
    over, blocked = RefreshToken.for_user(user), RefreshToken.for_user(make_user(is_active=False))
    over.end_family()
    refused = ["made up", str(over), str(blocked), str(over.access_token), signed(claims_of(over, exp=1))]
    first, *others = [answer(api.post(REFRESH, {"refresh": token})) for token in refused]
    assert first[1]["code"] == "token_not_valid"
    assert all(other == first for other in others)


def test_of_a_refresh_token_only_a_digest_is_stored(api):
    """L5"""
    pair = log_in(api, make_user())
    pair = refreshed(api, pair)
    stored = "".join(serializers.serialize("json", model.objects.all()) for model in apps.get_models())
    jti = RefreshToken(pair["refresh"])["jti"]
    assert digest(jti) in stored
    assert not [secret for secret in (jti, *pair.values(), pair["refresh"].split(".")[2]) if secret in stored]


@pytest.mark.parametrize("path", ["createXYZ/", "create/anything", "createXYZ/anything", "refreshXYZ/", "verify/x/"])
def test_a_path_that_only_begins_like_a_route_is_none(api, path):
    """L7, Z9"""
    assert api.post(f"/auth/jwt/{path}", {"email": "ada@example.com", "password": PASSWORD}).status_code == 404


# --- What is remembered of tokens ---


def test_a_token_that_was_taken_is_over_when_its_time_is(api, monkeypatch):
    """U6: that its signature is good is remembered, and nothing else."""
    token = str(RefreshToken.for_user(make_user()).access_token)
    assert is_taken(api, token)
    later = timezone.now() + settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"]
    monkeypatch.setattr("rest_framework_simplejwt.tokens.aware_utcnow", lambda: later)
    assert not is_taken(api, token)


@pytest.mark.parametrize("end", ["blocked", "closed", "new password", "logged out everywhere"])
def test_a_token_that_was_taken_ends_with_what_it_stands_for(api, end):
    """U8, U9"""
    user = make_user()
    token = str(RefreshToken.for_user(user).access_token)
    assert is_taken(api, token)
    assert is_taken(api, token)
    if end == "blocked":
        services.set_blocked([user], blocked=True, by=user)
    elif end == "closed":
        services.close_account(user)
    elif end == "new password":
        services.set_password(user, "staple under the moon")
    else:
        services.log_out_everywhere(user)
    assert not is_taken(api, token)


def test_a_token_like_one_that_was_taken_is_read_anew(api):
    """U6"""
    token = str(RefreshToken.for_user(make_user()).access_token)
    assert is_taken(api, token)
    head, claims, signature = token.split(".")
    other = str(RefreshToken.for_user(make_user()).access_token).split(".")
    for forged in (f"{head}.{claims}.{other[2]}", f"{head}.{other[1]}.{signature}", f"{head}.{claims}.", token[:-4]):
        assert not is_taken(api, forged)
    assert is_taken(api, token)


def test_what_is_done_to_the_claims_of_a_token_is_done_to_one_reading_of_it():
    token = str(RefreshToken.for_user(make_user()).access_token)
    AccessToken(token)["sub"] = "7"
    assert AccessToken(token)["sub"] != "7"


def test_a_refresh_token_that_was_taken_opens_nothing_as_another_kind(api):
    """U6"""
    pair = log_in(api, make_user())
    assert RefreshToken(pair["refresh"])
    assert not is_taken(api, pair["refresh"])
    assert is_taken(api, pair["access"])
    assert api.post(REFRESH, {"refresh": pair["access"]}).status_code == 401


# --- keys ---


@pytest.mark.parametrize("key", ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", '{"kty": "oct"}'])
def test_what_is_no_key_to_pyjwt_is_none_at_the_second_look_either(key):
    for _look in range(2):
        with pytest.raises(jwt.InvalidKeyError):
            jwt.encode({}, key, "HS256")


def test_a_key_is_looked_at_once(monkeypatch):
    monkeypatch.setattr("jwt.algorithms.is_ssh_key", lambda key: seen.append(key) or False)
    seen: list[bytes] = []
    for _token in range(2):
        jwt.decode(jwt.encode({}, NEW_KEY[::-1], "HS256"), NEW_KEY[::-1], ["HS256"])
    assert len(seen) == 1


NEW_KEY = "the-key-that-comes-after-" * 2


@pytest.fixture
def change_keys(settings, monkeypatch):
    """Put a new key in place of the present one, which becomes the previous one until it is dropped."""

    def change(*, keep_previous: bool) -> None:
        settings.JWT_PREVIOUS_KEY = settings.JWT_SIGNING_KEY if keep_previous else ""
        backend = type(AccessToken.token_backend)("HS256", NEW_KEY, "", settings.PUBLIC_URL, settings.PUBLIC_URL)
        for kind in (AccessToken, RefreshToken):
            monkeypatch.setattr(kind, "token_backend", backend)

    return change


def test_a_token_outlives_its_key_for_as_long_as_the_previous_key_is_kept(api, change_keys):
    """U17"""
    pair, user_token = log_in(api, make_user()), str(RefreshToken.for_user(make_user()).access_token)
    change_keys(keep_previous=True)
    assert is_taken(api, user_token)
    renewed = refreshed(api, pair)
    assert is_taken(api, renewed["access"])
    change_keys(keep_previous=False)
    assert is_taken(api, renewed["access"])  # signed with the new one
    assert not is_taken(api, user_token)


@pytest.mark.parametrize("changes", [{"aud": "https://elsewhere.example.com"}, {"iss": "x"}, {"exp": 1}])
def test_the_previous_key_vouches_for_no_more_than_the_present_one(api, change_keys, changes):
    """U6, U17"""
    token = RefreshToken.for_user(make_user()).access_token
    forged = signed(claims_of(token, **changes))
    good = signed(claims_of(token))
    change_keys(keep_previous=True)
    assert is_taken(api, good)
    assert not is_taken(api, forged)
    assert not is_taken(api, signed(claims_of(token), hash_name="sha512", alg="HS512"))


def test_a_token_of_the_previous_key_is_not_remembered_past_it(api, change_keys, settings):
    """U17: by the very reader that took it."""
    token = str(RefreshToken.for_user(make_user()).access_token)
    change_keys(keep_previous=True)
    assert is_taken(api, token)
    settings.JWT_PREVIOUS_KEY = ""
    assert not is_taken(api, token)
