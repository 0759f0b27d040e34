"""Referral codes as text: making one, reading what a person typed."""

import re
import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U, so that no two of its characters are mistaken for each other."""

LENGTH = 12
"""Characters of a generated code, 5 bits each: 60 bits."""

RESERVED = frozenset(["EMAIL", "QR", "LOOKUP", "CURRENT", "ADMIN", "SUPPORT", "TEST"])

CHOSEN = re.compile(r"[A-Z0-9-]{4,32}\Z", re.ASCII)
FOLDED = re.compile(r"[A-Z0-9]{2,32}\Z", re.ASCII)
LOOKALIKES = str.maketrans("OIL", "011", " -")


def generate() -> str:
    """A new code, made up by the system's CSPRNG. Of a byte, five bits count."""
    return grouped("".join([ALPHABET[byte % 32] for byte in secrets.token_bytes(LENGTH)]))


def grouped(letters: str) -> str:
    """`7K2M-Q9XA-4FH3`"""
    return "-".join([letters[start : start + 4] for start in range(0, LENGTH, 4)])


def fold(code: str) -> str:
    """What makes two codes the same: upper case, without spaces and dashes, O as 0, I and L as 1."""
    return code.upper().translate(LOOKALIKES)


def read(typed: str) -> str | None:
    """The folded form of what somebody typed; None for what is no code at all."""
    folded = fold(typed) if typed.isascii() and len(typed) <= 64 else ""
    return folded if FOLDED.match(folded) else None


def choose(wish: str) -> str | None:
    """The code that a person wishes for, in upper case; None for what cannot be one.

    4 to 32 of A-Z, 0-9 and -, at least four of them letters or digits, and none of the reserved words.
    """
    code = wish.upper() if wish.isascii() else ""
    folded = fold(code)
    if not CHOSEN.match(code) or len(folded) < 4 or folded in {fold(word) for word in RESERVED}:
        return None
    return code
