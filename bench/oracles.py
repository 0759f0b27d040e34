"""Whether the time of an answer tells who has an account: `python -m bench.oracles [samples]`.

For each call, requests about an account and about nobody come in random order to one worker, one at a time. The figure
is the area under the ROC curve of the best guess by time alone: 0.5 is a coin, 1 a certainty. What has to hold is 0.45
to 0.55, and less than 2 ms between the medians.
"""

import http.client
import json
import random
import sys
import time
from collections.abc import Callable
from statistics import median
from urllib.parse import urlsplit

from config.tests.live import Service, running_service

PASSWORD = "correct horse battery"  # noqa: S105 (of accounts made up here)
PAUSE = 0.02  # seconds; what an answer leaves to be done is not to slow the next one down
Ask = Callable[[str], tuple[str, str, dict]]

LOGIN: Ask = lambda email: ("POST", "/auth/jwt/create/", {"email": email, "password": "not it"})  # noqa: E731
RESET: Ask = lambda email: ("POST", "/auth/users/reset_password/", {"email": email})  # noqa: E731
RESEND: Ask = lambda email: ("POST", "/auth/users/resend_activation/", {"email": email})  # noqa: E731
LOOKUP: Ask = lambda email: ("GET", f"/api/referral-code/?email={email}", {})  # noqa: E731
MAIL: Ask = lambda email: ("POST", "/api/referral-code/email/", {"email": email})  # noqa: E731
SIGN_UP: Ask = lambda email: ("POST", "/auth/users/", {"email": email, "password": PASSWORD})  # noqa: E731


class Client:
    def __init__(self, service: Service, token: str = "") -> None:
        self.connection = http.client.HTTPConnection(urlsplit(service.url).netloc)
        self.headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def timed(self, method: str, path: str, body: dict) -> tuple[float, bytes]:
        """How many milliseconds an answer took, and the answer."""
        content = json.dumps(body) if body else None
        start = time.perf_counter()
        self.connection.request(method, path, content, self.headers)
        answer = self.connection.getresponse().read()
        return (time.perf_counter() - start) * 1000, answer


def area_under_curve(some: list[float], others: list[float]) -> float:
    """How often one of `others` took longer than one of `some`; ties count half."""
    ranked = sorted([(value, 0) for value in some] + [(value, 1) for value in others])
    rank_sum, start = 0.0, 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and ranked[end][0] == ranked[start][0]:
            end += 1
        rank_sum += sum(kind for _value, kind in ranked[start:end]) * (start + 1 + end) / 2
        start = end
    return (rank_sum - len(others) * (len(others) + 1) / 2) / (len(some) * len(others))


def compare(client: Client, ask: Ask, known: Callable[[int], str], samples: int) -> str:
    times: dict[bool, list[float]] = {True: [], False: []}
    kinds = [True, False] * samples
    random.Random(1).shuffle(kinds)  # noqa: S311 (an order, no secret)
    for number, is_known in enumerate(kinds):
        email = known(number) if is_known else f"nobody{number}@example.com"
        times[is_known].append(client.timed(*ask(email))[0])
        time.sleep(PAUSE)
    gap = median(times[True]) - median(times[False])
    return f"AUC {area_under_curve(times[False], times[True]):.3f}, medians {gap:+.2f} ms apart"


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    for title, environment in (("as it is set", {}), ("discreet", {"REGISTRATION_REVEALS_ACCOUNTS": "false"})):
        with running_service(workers=1, **environment) as service:
            open_to_all = Client(service)
            for number in range(20):
                open_to_all.timed(*SIGN_UP(f"known{number}@example.com"))
            known = lambda number: f"known{number % 20}@example.com"  # noqa: E731
            calls = {"sign in": LOGIN, "forgot my password": RESET, "mail the link again": RESEND}
            if environment:
                calls = {"sign up": SIGN_UP}
            for name, ask in calls.items():
                print(f"{title}, {name}: {compare(open_to_all, ask, known, samples)}", flush=True)
            if not environment:
                login = {"email": "known0@example.com", "password": PASSWORD}
                token = json.loads(open_to_all.timed("POST", "/auth/jwt/create/", login)[1])["access"]
                curious = Client(service, token)
                known = lambda number: f"known{1 + number % 19}@example.com"  # noqa: E731
                for name, ask in {"look up a code": LOOKUP, "mail somebody's code": MAIL}.items():
                    print(f"{title}, {name}: {compare(curious, ask, known, samples)}", flush=True)


if __name__ == "__main__":
    main()
