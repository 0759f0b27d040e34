"""The limits as they are set when nothing is, and what becomes of them while their store is away."""

import pytest
from django.test import Client

from config.environment import parse_limits
from config.tests.live import LIMITS, free_port
from referrals.tests.factories import make_code
from users.models import OutgoingEmail
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db


def test_the_defaults_are_in_nobodys_way(api, as_user, settings):
    """T0: a hundred sign-ups with a code, as many sign-ins and some hundred calls in an hour, all from one address."""
    for name, limit in LIMITS.items():
        setattr(settings, name, parse_limits(limit))
    code = make_code()
    for number in range(100):
        body = {"email": f"friend{number}@example.com", "password": PASSWORD, "referral_code": code.code}
        assert api.post("/api/register-with-referral/", body).status_code == 201
        assert api.post("/auth/jwt/create/", body).status_code == 200
    me = as_user(code.owner)
    assert {me.get(f"/api/referrals/{code.owner_id}/").status_code for _time in range(300)} == {200}
    assert OutgoingEmail.objects.count() == 100


def test_while_redis_is_away_nothing_goes_uncounted_and_what_has_no_limit_goes_on(api, as_user, settings):
    """T4, F7"""
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    for name, limit in LIMITS.items():
        setattr(settings, name, parse_limits(limit))
    user = make_user()
    code = make_code(user)
    for path, body in [
        ("/auth/jwt/create/", {"email": user.email, "password": PASSWORD}),
        ("/auth/users/", {"email": "new@example.com", "password": PASSWORD}),
        (
            "/api/register-with-referral/",
            {"email": "new@example.com", "password": PASSWORD, "referral_code": code.code},
        ),
        ("/auth/users/reset_password/", {"email": user.email}),
        ("/auth/users/resend_activation/", {"email": user.email}),
    ]:
        response = api.post(path, body)
        assert (response.status_code, response.json()["code"]) == (503, "limits_unavailable"), path
        assert int(response["Retry-After"]) > 0
    assert api.get(f"/api/referral-code/{code.code}/").status_code == 503
    assert api.get(f"/r/{code.code}").status_code == 503
    assert Client().post("/admin/login/", {"username": user.email, "password": PASSWORD}).status_code == 503
    me = as_user(user)
    for path in ("/auth/users/me/", "/api/referral-code/", f"/api/referrals/{user.pk}/"):
        assert me.get(path).status_code == 200
    assert not OutgoingEmail.objects.exists()
