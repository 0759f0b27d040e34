"""Accounts for tests. What a test is not about is filled in, and nothing at random."""

from itertools import count

from users.models import User

PASSWORD = "correct horse battery"
_numbers = count(1)


def make_user(**fields) -> User:
    number = next(_numbers)
    made_up = {"email": f"user{number}@example.com", "username": f"user{number}", "password": PASSWORD}
    return User.objects.create_user(**made_up | fields)
