"""What the tests of users share."""

from collections.abc import Callable, Iterator

import pytest
from django.utils import timezone

from users.models import OutgoingEmail
from users.tasks import deliver_waiting_mail
from users.tests.factories import PASSWORD
from users.tests.servers import MailServer, Provider


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server
        server.be_well()


@pytest.fixture
def mail_provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server
        server.awake.set()


@pytest.fixture
def mail_of_sign_up(api) -> Callable[[], OutgoingEmail]:
    """Signs up as ada@example.com and returns the mail that waits then."""

    def sign_up() -> OutgoingEmail:
        assert api.post("/auth/users/", {"email": "ada@example.com", "password": PASSWORD}).status_code == 201
        return OutgoingEmail.objects.get()

    return sign_up


@pytest.fixture
def try_now() -> Callable[[OutgoingEmail], OutgoingEmail]:
    """Tries a mail, whenever it would be due, and returns what became of it."""

    def try_now(row: OutgoingEmail) -> OutgoingEmail:
        OutgoingEmail.objects.update(next_try_at=timezone.now())
        deliver_waiting_mail()
        row.refresh_from_db()
        return row

    return try_now
