from argon2.exceptions import HashingError
from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes, one lane: the first choice of OWASP's Password Storage Cheat Sheet."""

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        try:
            return super().encode(password, salt)
        except HashingError as error:  # these parameters leave nothing else to go wrong
            raise MemoryError from error
