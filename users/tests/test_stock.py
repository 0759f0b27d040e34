"""Why classes of djoser and simplejwt are overridden: the fault of each, as the stock class still has it.

A test that fails here is good news. The fault is mended upstream, and the override that it names can go.
"""

from inspect import getsource
from io import BytesIO
from types import SimpleNamespace

import jwt
import pytest
from django.conf import settings
from django.contrib.auth.base_user import BaseUserManager
from django.core.validators import validate_email
from django.urls import resolve
from djoser import email, serializers as djoser, utils, views
from djoser.social.token.jwt import TokenStrategy
from djoser.social.views import ProviderAuthView
from rest_framework import fields, pagination, parsers, throttling
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import exception_handler
from rest_framework_simplejwt import authentication, serializers as simplejwt, tokens

from users import services
from users.models import User
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("claim", ["abc", "\x00", []])
def test_authentication_breaks_on_a_claim_that_is_no_id(claim):
    """U7: why there is `BearerAuthentication.authenticate`."""
    token = tokens.AccessToken()
    token["sub"] = claim
    with pytest.raises((TypeError, ValueError)):
        authentication.JWTAuthentication().get_user(token)


def test_a_token_breaks_on_a_time_out_of_range():
    """U7: why there is `_Checked`."""
    claims = tokens.AccessToken().payload | {"exp": 1e20, "iss": settings.PUBLIC_URL, "aud": settings.PUBLIC_URL}
    with pytest.raises((OverflowError, ValueError)):
        tokens.AccessToken(jwt.encode(claims, settings.JWT_SIGNING_KEY, "HS256"))


def test_authentication_overlooks_bearer_in_lower_case():
    """U6: why there is `BearerAuthentication.get_raw_token`."""
    assert authentication.JWTAuthentication().get_raw_token(b"bearer a.b.c") is None


def test_refresh_breaks_on_a_deleted_user():
    """L3: why there are `RefreshSerializer` and `RefreshToken.rotate`."""
    user = make_user()
    token = str(tokens.RefreshToken.for_user(user))
    user.delete()
    with pytest.raises(User.DoesNotExist):
        simplejwt.TokenRefreshSerializer(data={"refresh": token}).is_valid()


def test_refresh_takes_a_token_from_before_the_new_password(monkeypatch):
    """L4: why there are `RefreshSerializer` and the claim `ver`."""
    monkeypatch.setattr(tokens.api_settings, "CHECK_REVOKE_TOKEN", True)
    user = make_user()
    token = str(tokens.RefreshToken.for_user(user))
    services.set_password(user, "staple under the moon")
    assert simplejwt.TokenRefreshSerializer(data={"refresh": token}).is_valid()


def test_verify_takes_a_refresh_token_of_a_deleted_user():
    """L6: why there is `VerifySerializer`."""
    user = make_user()
    token = str(tokens.RefreshToken.for_user(user))
    user.delete()
    assert simplejwt.TokenVerifySerializer(data={"token": token}).is_valid()


def test_routes_take_any_path_that_begins_like_them():
    """L7: why `users.urls` includes nothing of djoser."""
    assert resolve("/jwt/createXYZ/anything", urlconf="djoser.urls.jwt")


@pytest.mark.parametrize("link", [{"uid": 123, "token": "x"}, {"uid": "MQ", "token": 5}])
def test_a_link_of_numbers_breaks(link):
    """L1: why there is `LinkSerializer`."""
    view = views.UserViewSet(request=APIRequestFactory().post("/"), format_kwarg=None, action="activation")
    link |= {"uid": utils.encode_uid(make_user().pk)} if link["uid"] == "MQ" else {}
    with pytest.raises((AttributeError, TypeError)):
        djoser.UidAndTokenSerializer(data=link, context={"view": view}).is_valid()


def test_an_activation_link_sets_a_password(settings):
    """L8: why there is `LinkToken`."""
    settings.DJOSER = settings.DJOSER | {"ACTIVATION_URL": "{uid}/{token}"}
    user = make_user()
    link = email.ActivationEmail(context={"user": user}).get_context_data()
    data = {"uid": link["uid"], "token": link["token"], "new_password": "staple under the moon"}
    context = {"view": views.UserViewSet(), "request": SimpleNamespace(user=user)}
    assert djoser.PasswordResetConfirmSerializer(data=data, context=context).is_valid()


def test_a_blocked_account_may_ask_for_its_activation():
    """L9: why there is `AccountViewSet.resend_activation`."""
    blocked = make_user(is_active=False)
    serializer = djoser.SendEmailResetSerializer(data={"email": blocked.email})
    assert serializer.is_valid()
    assert serializer.get_user(is_active=False) == blocked


def test_an_absent_id_is_told_from_a_forbidden_one(monkeypatch):
    """L13, N6: why `/auth/users/{id}/` does not exist here."""
    monkeypatch.setattr(views.UserViewSet, "get_exception_handler", lambda view: exception_handler)
    view, request = views.UserViewSet.as_view({"get": "retrieve"}), APIRequestFactory().get("/")
    force_authenticate(request, make_user())
    details = {str(view(request, id=pk).data["detail"]) for pk in (make_user().pk, 10**9)}
    assert len(details) == 2


def test_a_current_password_is_trimmed():
    """U4: why there is `CurrentPasswordSerializer`."""
    assert djoser.CurrentPasswordSerializer().fields["current_password"].trim_whitespace


def test_a_deep_body_breaks_the_parser():
    """L2: why there is `config.api.parsers.JSONParser`."""
    with pytest.raises(RecursionError):
        parsers.JSONParser().parse(BytesIO(b"[" * 100_000))


def test_a_body_is_read_in_whatever_charset():
    """L25: why there is `require_utf8`."""
    read = parsers.JSONParser().parse(BytesIO('{"a": 1}'.encode("utf-16")), parser_context={"encoding": "utf-16"})
    assert read == {"a": 1}


def test_two_refreshes_at_once_both_win():
    """L5: why there is `TokenFamily`. That a token was used is written with no look at whether it was there before."""
    assert "BlacklistedToken.objects.get_or_create(token=token)" in getsource(tokens)


def test_an_unknown_provider_breaks_and_any_path_is_one():
    """L14: why there are `ProviderView.initial` and routes of our own."""
    request = APIRequestFactory().post("/", {"code": "c", "state": "s"})
    request.session = {}
    with pytest.raises(NotImplementedError):
        ProviderAuthView.as_view(authentication_classes=[])(request, provider="unknown")
    assert resolve("/o/a/b/", urlconf="djoser.social.urls").kwargs == {"provider": "a/b"}


def test_a_blocked_account_gets_a_pair_after_social_login():
    """L15: why there is `users.social.complete`."""
    assert TokenStrategy.obtain(make_user(is_active=False))["access"]


def test_a_throttle_believes_whoever_says_who_they_are():
    """L18: why there is `config.api.context.network_of`."""
    request = APIRequestFactory().get("/", headers={"X-Forwarded-For": "198.51.100.1"})
    assert throttling.BaseThrottle().get_ident(request) == "198.51.100.1"


def test_a_number_becomes_text_and_has_no_end():
    """L20: why there is `config.api.fields.StringField`."""
    assert fields.CharField().run_validation(float("1e400")) == "inf"
    assert fields.IntegerField().run_validation(10**400) == 10**400


@pytest.mark.parametrize("text", ["2030-01-01T10:00", "2030-01-01", "2030-W05-2", "٢٠٣٠-٠١-٠١T10:00:00Z"])
def test_a_moment_is_read_from_what_is_none(text):
    """L21: why there is `config.api.fields.MomentField`."""
    assert fields.DateTimeField().run_validation(text)


@pytest.mark.parametrize("address", ["a@localhost", "a@[127.0.0.1]", "\u212a@x.io"])
def test_an_address_is_taken_that_is_no_mailbox(address):
    """L23: why there is `users.emails.canonical_email`."""
    validate_email(address)


def test_an_offset_has_no_end():
    """L24: why lists have cursors."""
    request = Request(APIRequestFactory().get("/", {"offset": "9" * 30}))
    assert pagination.LimitOffsetPagination().get_offset(request) == int("9" * 30)


def test_two_spellings_of_one_address_are_two_addresses():
    """L11: why there is `CanonicalEmailField`."""
    spellings = {BaseUserManager.normalize_email(address) for address in ("BOB@x.io", "bob@x.io")}
    assert len(spellings) == 2
