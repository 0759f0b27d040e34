"""Accounts for tests. What a test is not about is filled in, and nothing at random."""

from itertools import count

from django.core.mail import EmailMessage

from users.models import OutgoingEmail, User

PASSWORD = "correct horse battery"
_numbers = count(1)


def make_user(**fields) -> User:
    number = next(_numbers)
    made_up = {"email": f"user{number}@example.com", "username": f"user{number}", "password": PASSWORD}
    return User.objects.create_user(**made_up | fields)


def make_waiting_mail(to: str = "bob@example.com", **fields) -> OutgoingEmail:
    """One that went into the queue as any mail of Django's does."""
    EmailMessage("Hello", "Body", "from@x.io", [to]).send()
    OutgoingEmail.objects.filter(to=to).update(**fields)
    return OutgoingEmail.objects.get(to=to)
