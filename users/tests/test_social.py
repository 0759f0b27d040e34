"""Signing in through a provider."""

import time
from collections.abc import Iterator
from datetime import timedelta
from unittest.mock import patch
from urllib.parse import quote

import httpx
import pytest
from django.utils import timezone
from social_core.backends.open_id_connect import OpenIdConnectAuth
from social_django.models import Association, Nonce, UserSocialAuth

from users.models import User
from users.providers import VK, GitHub, Google, Oidc, Yandex
from users.retention import delete_what_is_over
from users.services import close_account
from users.tests.factories import make_user
from users.tests.providers import (
    BACK,
    FORGER,
    HonestProvider,
    Rogue,
    StrictProvider,
    honest_provider,
    query_of,
    rogue_provider,
    strict_provider,
)

pytestmark = pytest.mark.django_db

OIDC = "/auth/o/oidc/"


@pytest.fixture(scope="module")
def honest() -> Iterator[HonestProvider]:
    with honest_provider() as provider:
        yield provider


@pytest.fixture
def provider(honest, settings) -> HonestProvider:
    settings.SOCIAL_AUTH_OIDC_OIDC_ENDPOINT = honest.url
    forget_discovery()
    return honest


@pytest.fixture(scope="module")
def strict_one() -> Iterator[StrictProvider]:
    with strict_provider() as provider:
        yield provider


@pytest.fixture
def strict(strict_one, settings) -> StrictProvider:
    settings.SOCIAL_AUTH_OIDC_OIDC_ENDPOINT = strict_one.url
    forget_discovery()
    return strict_one


@pytest.fixture
def rogue(settings) -> Iterator[Rogue]:
    with rogue_provider() as provider:
        settings.SOCIAL_AUTH_OIDC_OIDC_ENDPOINT = provider.url
        forget_discovery()
        yield provider


def forget_discovery() -> None:
    """social-core remembers for a day where a provider's parts are."""
    OpenIdConnectAuth.get_openid_configuration.invalidate()
    OpenIdConnectAuth.get_jwks_keys_for_uri.invalidate()


def leave(client, **extra) -> str:
    response = client.get(OIDC, {"redirect_uri": BACK} | extra)
    assert response.status_code == 200, response.content
    return response.json()["authorization_url"]


def come_back(client, provider, sub: str, **kwargs):
    return client.post(OIDC, provider.sign_in(leave(client), sub), **kwargs)


# --- the way there ---


def test_the_way_there_has_a_state_and_a_challenge(api, provider):
    """O1, O2"""
    first, second = query_of(leave(api)), query_of(leave(api))
    assert first["redirect_uri"] == BACK
    assert first["code_challenge_method"] == "S256"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 32
        assert first[name] != second[name]


@pytest.mark.parametrize("backend", [Google, GitHub, Oidc, VK, Yandex])
def test_every_provider_gets_a_challenge(backend):
    """O2: the generic one goes without it unless told."""
    assert backend.DEFAULT_USE_PKCE is True
    assert backend.PKCE_DEFAULT_CODE_CHALLENGE_METHOD == "S256"
    assert OpenIdConnectAuth.DEFAULT_USE_PKCE is False


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "",
        f"{BACK}/",
        f"{BACK}/more",
        f"{BACK}?x=1",
        BACK.replace("https", "http"),
        BACK.replace(".com", ".com:443"),
        BACK.replace("app", "APP"),
        BACK.replace("/back", "/Back"),
        BACK.replace("https", "HTTPS"),
        BACK.replace("//", "//app.example.com@"),
        BACK.replace("//", "//ada:secret@"),
        BACK.replace("/back", "/%62ack"),
        BACK.replace("/back", "%2Fback"),
        quote(BACK, safe=""),
        BACK.replace("/back", "/x/../back"),
        BACK.replace("/back", "//back"),
        BACK.replace("/back", ""),
        BACK.replace(".com", ".com.evil.io"),
        BACK.replace(".com", ".com."),
        BACK.replace("app.", "evil-app."),
        BACK.replace("//", "/\\"),
        f"{BACK}?",
        f"{BACK}#",
        f"{BACK};x=1",
        f"{BACK}%00",
        f"{BACK},https://evil.io/",
        f"https://evil.io/?{BACK}",
        "//app.example.com/back",
        "/\\app.example.com/back",
        "javascript:alert(1)",
        None,
    ],
)
def test_an_address_to_return_to_is_taken_to_the_letter(api, redirect_uri):
    """O3, O10"""
    response = api.get(OIDC, {} if redirect_uri is None else {"redirect_uri": redirect_uri})
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == ["redirect_uri"]


@pytest.mark.parametrize("asked", [[BACK, "https://evil.io/"], ["https://evil.io/", f"{BACK}/"]])
def test_of_two_addresses_to_return_to_none_slips_through(api, asked):
    """O3"""
    assert api.get(OIDC, {"redirect_uri": asked}).status_code == 400


def test_the_address_to_return_to_is_the_one_they_left_with(api, provider):
    """O3: the body cannot change it, or the provider would refuse to take the code."""
    returned = provider.sign_in(leave(api), "ada@example.com")
    assert api.post(OIDC, returned | {"redirect_uri": "https://evil.io/"}).status_code == 201


@pytest.mark.parametrize("elsewhere", ["https://evil.io/", "//evil.io", "/\\evil.io", "javascript:alert(1)", "/admin/"])
def test_nobody_is_sent_on_to_anywhere(api, provider, elsewhere):
    """O10: `next` is a word that social-auth knows and this API does not."""
    url = leave(api, next=elsewhere)
    assert "evil" not in url
    assert "next" not in query_of(url)
    assert elsewhere not in api.session.values()
    returned = provider.sign_in(url, "ada@example.com")
    response = api.post(f"{OIDC}?next={quote(elsewhere)}", returned | {"next": elsewhere})
    assert response.status_code == 201
    assert "Location" not in response
    assert elsewhere not in response.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"])
@pytest.mark.parametrize(
    "provider", ["nobody", "google", "OIDC", "oidc_", "a/b", "oidc/b", "a%2Fb", "oidc%00", "x" * 300]
)
def test_an_unknown_or_disabled_provider_is_not_found_by_any_method(api, provider, method):
    """O7, L14"""
    assert api.generic(method, f"/auth/o/{provider}/").status_code == 404
    assert api.generic(method, f"/auth/o/{provider}/?redirect_uri={BACK}").status_code == 404
    body = '{"code": "c", "state": "s"}'
    assert api.generic(method, f"/auth/o/{provider}/", body, content_type="application/json").status_code == 404


def test_the_providers_that_are_on_are_listed(api):
    assert api.get("/auth/o/").json() == {
        "providers": [{"name": "github", "title": "GitHub"}, {"name": "oidc", "title": "OpenID Connect"}]
    }


def test_the_list_has_the_companys_own_name(api, settings):
    settings.OIDC_NAME = "Example Corp"
    assert {"name": "oidc", "title": "Example Corp"} in api.get("/auth/o/").json()["providers"]


# --- the way back ---


@pytest.mark.parametrize("kind", ["json", "multipart"])
def test_who_comes_for_the_first_time_gets_an_account_and_tokens(api, provider, kind, mailbox):
    provider.knows("ada", email="Ada@Example.com", email_verified=True)
    response = come_back(api, provider, "ada", format=kind)
    assert response.status_code == 201, response.content
    body = response.json()
    assert body.keys() == {"access", "refresh", "user"}
    user = User.objects.get()
    assert (user.email, user.email_verified, user.has_usable_password()) == ("ada@example.com", True, False)
    assert mailbox() == []
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {body['access']}")
    assert api.get("/auth/users/me/").json() == body["user"]


def test_who_comes_again_gets_the_same_account_whatever_their_address_is_now(api, provider):
    """O4: the key is the provider and its `sub`."""
    provider.knows("ada", email="ada@example.com", email_verified=True)
    first = come_back(api, provider, "ada").json()["user"]
    provider.knows("ada", email="other@example.com", email_verified=True)
    assert come_back(api, provider, "ada").json()["user"] == first
    assert User.objects.count() == 1


def test_an_unproved_address_stays_unproved_and_gets_a_mail(api, provider, mailbox):
    provider.knows("ada", email="ada@example.com", email_verified=False)
    assert come_back(api, provider, "ada").json()["user"]["email_verified"] is False
    assert [mail.to for mail in mailbox()] == [["ada@example.com"]]


@pytest.mark.parametrize("verified", [True, False, None, "true"])
def test_an_address_that_has_an_account_opens_nothing(api, provider, verified):
    """O4, L16: whether the provider vouches for it or not."""
    make_user(email="ada@example.com")
    provider.knows("eve", email="ADA@example.com", email_verified=verified)
    response = come_back(api, provider, "eve")
    assert (response.status_code, response.json()["code"]) == (409, "account_exists")
    assert not UserSocialAuth.objects.exists()


@pytest.mark.parametrize("verified", [True, False])
def test_where_sign_ups_tell_nothing_only_the_owner_of_an_address_hears_that_it_has_an_account(
    api, provider, settings, verified
):
    """O4, N7"""
    settings.REGISTRATION_REVEALS_ACCOUNTS, settings.REQUIRE_EMAIL_VERIFICATION = False, True
    make_user(email="ada@example.com")
    provider.knows("eve", email="ada@example.com", email_verified=verified)
    provider.knows("mallory", email="free@example.com", email_verified=verified)
    answers = [come_back(api, provider, sub) for sub in ("eve", "mallory")]
    codes = [(answer.status_code, answer.json().get("code")) for answer in answers]
    assert codes == ([(409, "account_exists"), (201, None)] if verified else [(401, "no_active_account")] * 2)
    assert not UserSocialAuth.objects.filter(uid="eve").exists()  # the owner can still add it


def test_without_an_address_there_is_no_account(api, provider):
    """O4"""
    provider.knows("ada")
    response = come_back(api, provider, "ada")
    assert (response.status_code, response.json()["code"]) == (400, "no_email_from_provider")
    assert not User.objects.exists()


def test_a_blocked_and_a_closed_account_stay_out(api, provider):
    """O5, L15, U14"""
    provider.knows("ada", email="ada@example.com", email_verified=True)
    come_back(api, provider, "ada")
    User.objects.update(is_active=False)
    response = come_back(api, provider, "ada")
    assert (response.status_code, response.json()["code"]) == (401, "no_active_account")


def test_a_closed_account_forgets_its_providers(api, provider):
    provider.knows("ada", email="ada@example.com", email_verified=True)
    come_back(api, provider, "ada")
    close_account(User.objects.get())
    assert not UserSocialAuth.objects.exists()
    assert come_back(api, provider, "ada").status_code == 201
    assert User.objects.count() == 2


def test_nothing_of_the_provider_is_kept_but_who_it_is(api, provider):
    """O9"""
    provider.knows("ada", email="ada@example.com", email_verified=True, name="Ada Lovelace")
    come_back(api, provider, "ada")
    link = UserSocialAuth.objects.get()
    assert (link.provider, link.uid, link.extra_data) == ("oidc", "ada", {})


@pytest.mark.parametrize("email", [5, True, ["a@example.com"], {"a": "b"}, "a@localhost", "a@b.io\r\nBcc: c@d.io"])
def test_an_address_that_is_none_makes_no_account(api, rogue, email):
    """O6"""
    query = query_of(leave(api))
    rogue.nonce, rogue.userinfo = query["nonce"], {"email": email}
    response = api.post(OIDC, {"code": "c", "state": query["state"]})
    assert (response.status_code, response.json()["code"]) == (400, "no_email_from_provider")
    assert not User.objects.exists()


def test_what_is_left_of_who_never_came_back_is_deleted_in_time(api, provider):
    leave(api)
    assert delete_what_is_over()["states"] == 0
    Nonce.objects.update(timestamp=time.time() - 2 * 86_400)
    Association.objects.update(issued=time.time() - 2 * 86_400)
    done = delete_what_is_over()
    assert (done["states"], done["nonces"]) == (1, 1)


# --- state ---


def test_a_state_is_good_once(api, provider):
    """O1, O2, L17"""
    provider.knows("ada", email="ada@example.com", email_verified=True)
    returned = provider.sign_in(leave(api), "ada")
    assert api.post(OIDC, returned).status_code == 201
    response = api.post(OIDC, returned)
    assert (response.status_code, response.json()["code"]) == (400, "sign_in_failed")


def test_a_state_is_spent_by_an_attempt_that_failed(api, provider):
    """O1: there is one try, not one after the other until a code fits."""
    returned = provider.sign_in(leave(api), "ada@example.com")
    assert api.post(OIDC, returned | {"code": "another"}).status_code == 400
    assert api.post(OIDC, returned).status_code == 400
    assert not User.objects.exists()


def test_a_code_is_good_once(api, provider):
    """O2: with a state that is good, too."""
    returned = provider.sign_in(leave(api), "ada@example.com")
    assert api.post(OIDC, returned).status_code == 201
    response = api.post(OIDC, {"code": returned["code"], "state": query_of(leave(api))["state"]})
    assert (response.status_code, response.json()["code"]) == (400, "sign_in_failed")


def test_a_code_is_good_with_its_own_state_only(api, provider):
    """O1, O2: a code that somebody else was given is worth nothing in a session of one's own."""
    stolen = provider.sign_in(leave(api), "ada@example.com")
    response = api.post(OIDC, {"code": stolen["code"], "state": query_of(leave(api))["state"]})
    assert (response.status_code, response.json()["code"]) == (400, "sign_in_failed")
    assert not User.objects.exists()


def test_a_state_is_good_in_its_own_session_only(api, as_user, provider):
    """O1: nobody is signed in to an account that another started to sign in to."""
    provider.knows("eve", email="eve@example.com", email_verified=True)
    returned = provider.sign_in(leave(api), "eve")
    victim = as_user(make_user())
    response = victim.post(OIDC, returned)
    assert (response.status_code, response.json()["code"]) == (400, "sign_in_failed")
    assert not UserSocialAuth.objects.exists()


@pytest.mark.parametrize("state", ["", "x", "x" * 128, "x" * 129, 5, None, [], "a\x00b"])
def test_a_state_that_was_never_given_is_refused(api, provider, state):
    """O1"""
    leave(api)
    assert api.post(OIDC, {"code": "c", "state": state}).status_code == 400


@pytest.mark.parametrize("missing", ["state", "code"])
def test_without_a_state_or_a_code_nobody_comes_back(api, provider, missing):
    """O1"""
    returned = provider.sign_in(leave(api), "ada@example.com")
    del returned[missing]
    response = api.post(OIDC, returned)
    assert response.status_code == 400
    assert [error["field"] for error in response.json()["errors"]] == [missing]
    assert not User.objects.exists()


def test_a_state_ends(api, provider, settings):
    """O1"""
    provider.knows("ada", email="ada@example.com", email_verified=True)
    returned = provider.sign_in(leave(api), "ada")
    settings.SOCIAL_AUTH_STATE_LIFETIME = 1
    time.sleep(2.1)
    assert api.post(OIDC, returned).status_code == 400


def test_a_state_is_good_for_its_own_provider_only(api, provider, github_answers):
    """O8: what came back to one provider's address is handed to that provider, so a mix-up ends here."""
    returned = provider.sign_in(leave(api), "ada@example.com")
    assert api.post("/auth/o/github/", returned).status_code == 400
    github = api.get("/auth/o/github/", {"redirect_uri": BACK}).json()["authorization_url"]
    returned = provider.sign_in(leave(api), "ada@example.com") | {"state": query_of(github)["state"]}
    assert api.post(OIDC, returned).status_code == 400
    assert not User.objects.exists()


def test_an_identity_is_a_provider_and_its_sub(api, provider, github_answers):
    """O4: person 7 of one provider is not person 7 of another."""
    github = api.get("/auth/o/github/", {"redirect_uri": BACK}).json()["authorization_url"]
    one = api.post("/auth/o/github/", {"code": "any", "state": query_of(github)["state"]}).json()["user"]
    provider.knows("7", email="seven@example.com", email_verified=True)
    assert come_back(api, provider, "7").json()["user"]["id"] != one["id"]
    assert set(UserSocialAuth.objects.values_list("provider", "uid")) == {("github", "7"), ("oidc", "7")}


def test_two_tabs_do_not_get_into_each_others_way(api, provider):
    provider.knows("ada", email="ada@example.com", email_verified=True)
    one, two = leave(api), leave(api)
    assert api.post(OIDC, provider.sign_in(one, "ada")).status_code == 201
    assert api.post(OIDC, provider.sign_in(two, "ada")).status_code == 201


# --- a provider that goes by the book ---


def session_with(client, **changes) -> None:
    """Change what the server remembers of the one who left."""
    session = client.session
    for key, value in session.items():
        if isinstance(value, dict):
            session[key] = {name: changes.get(name, old) for name, old in value.items()}
    session.save()


@pytest.mark.slow
def test_a_strict_provider_lets_one_in(api, strict):
    """O2"""
    body = come_back(api, strict, "ada@example.com").json()
    assert (body["user"]["email"], body["user"]["email_verified"]) == ("ada@example.com", True)


@pytest.mark.slow
def test_a_strict_provider_takes_the_verifier_of_its_challenge_only(api, strict):
    """O2"""
    returned = strict.sign_in(leave(api), "ada@example.com")
    session_with(api, code_verifier="v" * 43)
    response = api.post(OIDC, returned)
    assert (response.status_code, response.json()["code"]) == (400, "sign_in_failed")
    assert not User.objects.exists()


@pytest.mark.slow
def test_a_strict_provider_takes_a_code_once(api, strict):
    """O2"""
    returned = strict.sign_in(leave(api), "ada@example.com")
    assert api.post(OIDC, returned).status_code == 201
    assert api.post(OIDC, {"code": returned["code"], "state": query_of(leave(api))["state"]}).status_code == 400


@pytest.mark.slow
def test_a_strict_provider_wants_the_address_that_they_left_with(api, strict):
    """O3"""
    returned = strict.sign_in(leave(api), "ada@example.com")
    session_with(api, redirect_uri=f"{BACK}/")
    assert api.post(OIDC, returned).status_code == 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"redirect_uri": f"{BACK}/more"}, None),
        ({"client_id": "another"}, None),
    ],
)
def test_the_strict_provider_is_strict(api, strict, change, error):
    """Or the tests above would show nothing."""
    query = {name: value for name, value in (query_of(leave(api)) | change).items() if value}
    answer = httpx.get(f"{strict.url}/auth", params=query)
    if error:
        assert query_of(answer.headers["location"])["error"] == error
    else:
        assert (answer.status_code, "location" in answer.headers) == (400, False)


# --- adding a provider to an account ---


def test_who_is_signed_in_adds_a_provider_and_is_told(as_user, api, provider, mailbox):
    """O4, U18"""
    provider.knows("ada", email="elsewhere@example.com", email_verified=True)
    user = make_user(email="ada@example.com")
    assert come_back(as_user(user), provider, "ada").json()["user"]["id"] == user.pk
    assert [mail.to for mail in mailbox()] == [["ada@example.com"]]
    assert come_back(api, provider, "ada").json()["user"]["id"] == user.pk
    assert User.objects.get().email == "ada@example.com"
    assert len(mailbox()) == 1


def test_a_token_that_was_found_is_no_way_to_add_a_provider(as_user, provider):
    """O4: adding one takes a login of the last five minutes."""
    user = make_user()
    with patch("rest_framework_simplejwt.tokens.aware_utcnow", return_value=timezone.now() - timedelta(minutes=6)):
        client = as_user(user)
    response = client.get(OIDC, {"redirect_uri": BACK})
    assert (response.status_code, response.json()["code"]) == (400, "fresh_login_required")
    assert as_user(user).get(OIDC, {"redirect_uri": BACK}).status_code == 200


def test_an_identity_belongs_to_one_account(as_user, api, provider):
    provider.knows("ada", email="ada@example.com", email_verified=True)
    come_back(api, provider, "ada")
    response = come_back(as_user(make_user()), provider, "ada")
    assert (response.status_code, response.json()["code"]) == (409, "identity_in_use")


def test_who_left_signed_in_comes_back_signed_in(as_user, api, provider):
    """A state that somebody got while signed in adds nothing to nobody's account."""
    client = as_user(make_user())
    provider.knows("ada", email="ada@example.com", email_verified=True)
    returned = provider.sign_in(leave(client), "ada")
    client.credentials()
    assert client.post(OIDC, returned).status_code == 400


# --- providers that fail or lie ---


def say(status: int, kind: str, body: bytes):
    return lambda: (status, kind, body)


@pytest.mark.parametrize(
    ("path", "answer", "status"),
    [
        ("/token", say(500, "text/html", b"<h1>Sorry</h1>"), 503),
        ("/token", say(503, "text/plain", b""), 503),
        ("/token", say(400, "application/json", b'{"error": "invalid_grant"}'), 400),
        ("/token", say(200, "text/html", b"<h1>Hello</h1>"), 400),
        ("/token", say(200, "application/json", b"[]"), 400),
        ("/token", say(200, "application/json", b"{}"), 400),
        ("/token", say(200, "application/json", b" " * 10_000_000), 400),
        ("/userinfo", say(500, "text/plain", b""), 503),
        ("/userinfo", say(200, "text/html", b"<h1>Hello</h1>"), 400),
        ("/jwks", say(200, "application/json", b"[]"), 400),
        ("/jwks", say(500, "application/json", b""), 503),
    ],
)
def test_a_provider_that_fails_is_no_fault_of_ours(api, rogue, path, answer, status):
    """O6"""
    query = query_of(leave(api))
    rogue.nonce = query["nonce"]
    rogue.answers[path] = answer
    response = api.post(OIDC, {"code": "c", "state": query["state"]})
    assert response.status_code == status, response.content
    assert ("Retry-After" in response) is (status == 503)
    assert not User.objects.exists()


def test_a_provider_that_is_silent_is_given_up(api, rogue, settings):
    """O6"""
    state = query_of(leave(api))["state"]
    settings.SOCIAL_AUTH_REQUESTS_TIMEOUT = 0.2
    rogue.answers["/token"] = lambda: time.sleep(1) or (200, "application/json", b"{}")
    assert api.post(OIDC, {"code": "c", "state": state}).status_code == 503


@pytest.mark.parametrize(
    "answer",
    [
        say(500, "text/html", b"<h1>Sorry</h1>"),
        say(200, "text/html", b"<h1>Hello</h1>"),
        say(200, "application/json", b"[]"),
        say(200, "application/json", b"{}"),
        say(404, "application/json", b"{}"),
        lambda: time.sleep(1) or (200, "application/json", b"{}"),
    ],
)
def test_nobody_leaves_for_a_provider_that_does_not_say_where_it_is(api, rogue, settings, answer):
    """O6"""
    settings.SOCIAL_AUTH_REQUESTS_TIMEOUT = 0.2
    rogue.answers["/.well-known/openid-configuration"] = answer
    response = api.get(OIDC, {"redirect_uri": BACK})
    assert (response.status_code, response.json()["code"]) == (503, "provider_unavailable")


def test_a_provider_that_is_away_is_away(api, settings):
    """O6"""
    settings.SOCIAL_AUTH_OIDC_OIDC_ENDPOINT = "http://127.0.0.1:9"
    forget_discovery()
    response = api.get(OIDC, {"redirect_uri": BACK})
    assert (response.status_code, response.json()["code"]) == (503, "provider_unavailable")
    assert int(response["Retry-After"]) > 0


@pytest.mark.parametrize(
    "lie",
    [
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"aud": "another"}},
        {"claims": {"iss": "https://evil.example.com"}},
        {"claims": {"exp": 1}},
        {"claims": {"exp": None}},
        {"claims": {"sub": None}},
        {"key": FORGER},
        {"algorithm": "none"},
        {"userinfo": {"sub": "somebody else"}},
    ],
)
def test_a_lie_of_a_provider_lets_nobody_in(api, rogue, lie):
    """O6"""
    query = query_of(leave(api))
    rogue.nonce = query["nonce"]
    for name, value in lie.items():
        setattr(rogue, name, value)
    response = api.post(OIDC, {"code": "c", "state": query["state"]})
    assert (response.status_code, response.json()["code"]) == (400, "sign_in_failed")
    assert not User.objects.exists()


def test_an_honest_word_of_the_same_provider_lets_one_in(api, rogue):
    query = query_of(leave(api))
    rogue.nonce = query["nonce"]
    assert api.post(OIDC, {"code": "c", "state": query["state"]}).status_code == 201


def test_github_vouches_for_a_verified_address_only():
    """O4"""
    emails = [{"email": "a@x.io", "verified": True}, {"email": "b@x.io", "verified": False}]
    assert GitHub().vouches_for_email({"email": "a@x.io", "emails": emails})
    assert not GitHub().vouches_for_email({"email": "b@x.io", "emails": emails})
    assert not GitHub().vouches_for_email({"email": "c@x.io", "emails": emails})
    assert not GitHub().vouches_for_email({"email": "a@x.io"})
    assert not VK().vouches_for_email({"email": "a@x.io"})
    assert not Yandex().vouches_for_email({"email": "a@x.io"})
