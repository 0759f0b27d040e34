"""Secrets made up on the spot, so that a fresh clone starts without anyone writing a file first."""

import fcntl
import os
import secrets
from pathlib import Path

from dotenv import dotenv_values


def make_up_secrets(path: Path, names: list[str]) -> dict[str, str]:
    """Add each of `names` that `path` lacks, with 64 random characters, and return them all.

    The file ends up with mode 600. Processes that start together agree: the first one writes, the others read.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.fchmod(file.fileno(), 0o600)
        there = dotenv_values(path, interpolate=False)
        missing = [name for name in names if not there.get(name)]
        if missing:
            file.write("\n# Made up at the first start. Keep them: whoever has them can sign in as anybody.\n")
            file.writelines(f"{name}={secrets.token_urlsafe(48)}\n" for name in missing)
            file.flush()
        there = dotenv_values(path, interpolate=False)
    return {name: there[name] or "" for name in names}
