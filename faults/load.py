"""People who use the service, several at a time, and write down what they are answered."""

import base64
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

from faults.journal import DONE, Account, Journal
from users.tests.factories import PASSWORD

_people = count(1)


class Answer(NamedTuple):
    """`status` is None where the connection broke before there was an answer."""

    status: int | None
    body: Any
    problem: str = ""
    """What of it is not as it should be."""


def call(port: int, method: str, path: str, body: Any = None, token: str = "", timeout: float = 60) -> Answer:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        content = response.read()
    except (HTTPException, OSError):
        return Answer(None, None)
    finally:
        connection.close()
    is_json = "json" in response.headers.get("Content-Type", "")
    return Answer(response.status, json.loads(content) if is_json and content else None, _problem(response, content))


def _problem(response: Any, content: bytes) -> str:
    if response.status < 400:
        return ""
    if response.status >= 500 and (response.status != 503 or not response.headers["Retry-After"]):
        return f"{response.status} {content!r}"
    is_problem = response.headers["Content-Type"] == "application/problem+json"
    return "" if is_problem and json.loads(content)["status"] == response.status else f"no problem: {content!r}"


class Seen(NamedTuple):
    """An answer as the load keeps it: when its call was sent, by the monotonic clock, and how long it took."""

    call: str
    at: float
    seconds: float
    status: int | None


class Person:
    """Somebody who makes one call after another."""

    def __init__(self, load: "Load") -> None:
        self.load, self.account = load, Account()
        self.number = next(_people)
        self.email = f"{load.name}{self.number}@example.com"
        self.access = self.refresh = ""
        self._made = count(1)
        self._random = random.Random(self.email)

    def live(self) -> None:
        """Sign up, then do this and that."""
        self._register()
        if self.account.registered != DONE:
            return
        for _call in range(self._random.randint(4, 12)):
            if self.load.stopping.is_set():
                return
            if not self.access:
                self._log_in()
                continue
            self._random.choices(
                [
                    self._change_code,
                    self._rename,
                    self._refresh,
                    self._mail_code,
                    self._set_password,
                    self._forget_password,
                    self._read,
                ],
                [6, 2, 2, 2, 1, 1, 3],
            )[0]()

    def _ask(self, name: str, method: str, path: str, body: Any = None, token: str = "", **noted: Any) -> Answer:
        number = self.load.journal.begin(self.email, name, **noted)
        sent = time.monotonic()
        answer = call(self.load.port, method, path, body, token)
        self.load.seen.append(Seen(name, sent, time.monotonic() - sent, answer.status))
        if answer.problem:
            self.load.complaints.append(f"{name}: {answer.problem}")
        self._note(number, name, answer, noted)
        if answer.status is None or answer.status == 503:
            self.load.stopping.wait(timeout=self._random.uniform(0.02, 0.1))  # so that what was sent can end
        return answer

    def _note(self, number: int, name: str, answer: Answer, noted: dict[str, Any]) -> None:
        told: dict[str, Any] = {}
        if answer.status and answer.status >= 400 and name != "look_at_code":
            told["refusal"] = answer.body.get("errors", [answer.body])[0]["code"] if answer.body else ""
        elif name in ("log_in", "refresh") and answer.status == 200:
            claims = json.loads(base64.urlsafe_b64decode(answer.body["refresh"].split(".")[1] + "=="))
            told["login"] = [claims["fam"], claims["jti"]]
        elif name == "look" and answer.status == 200:
            told["username"] = answer.body["username"]
        elif name == "look_at_code" and answer.status == 200:
            told["code"] = answer.body["code"]
        self.load.journal.end(number, answer.status, **told)
        try:
            self.account.add({"call": name, "status": answer.status} | noted | told)
        except AssertionError as error:
            self.load.complaints.append(str(error).partition("\n")[0])

    def _register(self) -> None:
        """Until it is answered one way or the other, as people do."""
        username, code = self._name(), self._random.choice([None, *self.load.codes])
        body = {"email": self.email, "password": PASSWORD, "username": username}
        path = "/auth/users/" if code is None else "/api/register-with-referral/"
        body |= {} if code is None else {"referral_code": code}
        while self.account.registered != DONE and not self.load.stopping.is_set():
            noted = {"username": username, "password": PASSWORD, "referral_code": code}
            answer = self._ask("register", "POST", path, body, **noted)
            if answer.status is not None and answer.status not in (201, 503):
                return

    def _log_in(self) -> None:
        for password in sorted(self.account.passwords):
            body = {"email": self.email, "password": password}
            answer = self._ask("log_in", "POST", "/auth/jwt/create/", body, password=password)
            if answer.status == 200:
                self.access, self.refresh = answer.body["access"], answer.body["refresh"]
                return

    def _refresh(self) -> None:
        answer = self._ask("refresh", "POST", "/auth/jwt/refresh/", {"refresh": self.refresh})
        if answer.status == 200:
            self.access, self.refresh = answer.body["access"], answer.body["refresh"]
        else:
            self.access = ""

    def _rename(self) -> None:
        username = self._name()
        self._ask("rename", "PATCH", "/auth/users/me/", {"username": username}, self.access, username=username)

    def _set_password(self) -> None:
        (current,), new = self.account.passwords, f"staple under moon {next(self._made)}"
        body = {"current_password": current, "new_password": new}
        self._ask("set_password", "POST", "/auth/users/set_password/", body, self.access, password=new)
        self.access = ""

    def _change_code(self) -> None:
        """Create one or delete the one there is. What is in doubt is looked at first."""
        if any(len(states) > 1 for states in self.account.codes.values()):
            self._look_at_code()
        elif active := self.account.active_codes:
            (code,) = active
            answer = self._ask("delete_code", "DELETE", "/api/referral-code/", token=self.access, code=code)
            if answer.status == 204:
                self._ask("read", "GET", f"/api/referral-code/{code}/", expected=404)
        else:
            code = f"F{self.number:06}X{next(self._made):03}"
            body = {"code": code, "expiration_date": (datetime.now(UTC) + timedelta(days=9)).isoformat()}
            self._ask("create_code", "POST", "/api/referral-code/", body, self.access, code=code)

    def _look_at_code(self) -> None:
        self._ask("look_at_code", "GET", "/api/referral-code/", token=self.access)

    def _mail_code(self) -> None:
        certain = [code for code, states in self.account.codes.items() if states == {"active"}]
        if certain:
            self._ask("mail_code", "POST", "/api/referral-code/email/", {}, self.access)

    def _forget_password(self) -> None:
        self._ask("forget_password", "POST", "/auth/users/reset_password/", {"email": self.email})

    def _read(self) -> None:
        answer = self._ask("look", "GET", "/auth/users/me/", token=self.access)
        if answer.status == 200:
            self._ask("read", "GET", f"/api/referrals/{answer.body['id']}/", token=self.access, expected=200)
        self._look_at_code()

    def _name(self) -> str:
        return f"{self.email.partition('@')[0]}-{next(self._made)}"


class Load:
    """Some people at a time, one following another, until it is stopped."""

    def __init__(self, port: int, journal: Path, codes: list[str], name: str) -> None:
        self.port, self.codes, self.name = port, codes, name
        self.journal = Journal(journal)
        self.seen: list[Seen] = []
        self.complaints: list[str] = []
        self.stopping = Event()

    def _lives(self) -> None:
        while not self.stopping.is_set():
            Person(self).live()

    @contextmanager
    def running(self, people: int = 6) -> Iterator[None]:
        self.stopping.clear()
        threads = [Thread(target=self._guarded, args=(self._lives,), daemon=True) for _person in range(people)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join(timeout=120)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.complaints.append(f"{type(error).__name__}: {error}")

    def answers(self, since: float = 0, until: float = float("inf")) -> Counter[int | None]:
        """How often each status came for calls that were sent in a span of time."""
        return Counter(seen.status for seen in self.seen if since <= seen.at < until)

    def first(self, status: int, since: float) -> float | None:
        """How many seconds after a moment the first answer with this status came to a call sent after it."""
        later = (seen for seen in self.seen if seen.status == status and seen.at >= since)
        return min((seen.at + seen.seconds - since for seen in later), default=None)
