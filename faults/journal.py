"""What clients asked for and what they were answered, on disk before they go on: the oracle of the fault tests.

A line tells of a call that begins, another one of its answer. A call without one, or one that was answered with 503, is
in doubt: it was done, once, or it was not.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

NEVER, MAYBE, DONE = "never", "maybe", "done"


class Journal:
    def __init__(self, path: Path) -> None:
        self._file = path.open("a+", encoding="utf-8")
        self._numbers, self._lock = count(), Lock()

    def begin(self, person: str, call: str, **what: Any) -> int:
        number = next(self._numbers)
        self._write({"number": number, "person": person, "call": call, **what})
        return number

    def end(self, number: int, status: int | None, **outcome: Any) -> None:
        self._write({"number": number, "status": status, **outcome})

    def _write(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        os.fsync(self._file.fileno())

    def calls(self) -> Iterator[dict[str, Any]]:
        """Each call with its answer, those of one person in their order. Status is None where there was no answer."""
        self._file.seek(0)
        calls: dict[int, dict[str, Any]] = {}
        for line in self._file:
            entry = json.loads(line)
            calls.setdefault(entry["number"], {"status": None}).update(entry)
        yield from calls.values()


@dataclass
class Account:
    """What may be true of somebody's account after their calls: sets hold what is possible, one thing if it is known.

    `add` raises AssertionError for an answer that cannot be.
    """

    registered: str = NEVER
    code_used: str | None = None
    usernames: set[str] = field(default_factory=set)
    passwords: set[str] = field(default_factory=set)
    codes: dict[str, set[str]] = field(default_factory=dict)
    """Of each code, whether it is "absent", "active" or "retired"."""
    code_mails: list[int] = field(default_factory=lambda: [0, 0])
    reset_mails: list[int] = field(default_factory=lambda: [0, 0])
    """At least and at most so many."""
    login: tuple[int, str] | None = None
    """Family and id of the refresh token that is good; None where that is in doubt."""

    def add(self, call: dict[str, Any]) -> None:
        status = call["status"]
        getattr(self, "_" + call["call"])(call, status, status is None or status == 503)

    @property
    def active_codes(self) -> set[str]:
        return {code for code, states in self.codes.items() if "active" in states}

    def _register(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if doubt:
            self.registered = DONE if self.registered == DONE else MAYBE
        elif status == 400:
            assert (self.registered, call["refusal"]) == (MAYBE, "email_taken"), call
            self.registered = DONE
        else:
            assert status == 201, call
            assert self.registered != DONE, call
            self.registered = DONE
        self.code_used = call["referral_code"]
        self.usernames, self.passwords = {call["username"]}, {call["password"]}

    def _log_in(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if status == 401:
            assert self.passwords > {call["password"]}, call
            self.passwords -= {call["password"]}
        elif not doubt:
            assert status == 200, call
            assert call["password"] in self.passwords, call
            self.passwords, self.login = {call["password"]}, tuple(call["login"])

    def _refresh(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if not doubt:
            assert status == 200, call
        self.login = None if doubt else tuple(call["login"])

    def _rename(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if not doubt:
            assert status == 200, call
            self.usernames.clear()
        self.usernames.add(call["username"])

    def _set_password(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if not doubt:
            assert status == 204, call
            self.passwords.clear()
        self.passwords.add(call["password"])
        self.login = None

    def _create_code(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if not doubt:
            assert status == 201, call
        self.codes[call["code"]] = {"absent", "active"} if doubt else {"active"}

    def _delete_code(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if not doubt:
            assert status == 204, call
        self.codes[call["code"]] = {"active", "retired"} if doubt else {"retired"}

    def _mail_code(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if not doubt:
            assert status == 200, call
            self.code_mails[0] += 1
        self.code_mails[1] += 1

    def _forget_password(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if not doubt:
            assert status == 204, call
            self.reset_mails[0] += 1
        self.reset_mails[1] += 1

    def _look(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        """A look at the account settles what was in doubt."""
        if not doubt:
            assert status == 200, call
            assert call["username"] in self.usernames, call
            self.usernames = {call["username"]}

    def _look_at_code(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        if doubt:
            return
        assert status in (200, 404), call
        seen = call["code"] if status == 200 else None
        assert seen is None or seen in self.active_codes, call
        for code, states in self.codes.items():
            self.codes[code] = {"active"} if code == seen else states - {"active"}
            assert self.codes[code], call

    def _read(self, call: dict[str, Any], status: int | None, doubt: bool) -> None:
        assert doubt or status == call["expected"], call
