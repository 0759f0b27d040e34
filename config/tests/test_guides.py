"""The guides do what they say: what is on the page is run here as it stands."""

import json
import os
import re
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser

from config.tests.live import ROOT, Service, running_service

pytestmark = [pytest.mark.slow, pytest.mark.interface]

PASSWORD = "correct horse battery"


def blocks(page: str, heading: str, language: str) -> list[str]:
    """The code under a heading of a page in `docs/`."""
    section = (ROOT / "docs" / page).read_text("utf-8").partition(f"# {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def code(service: Service) -> str:
    """Of somebody of whom there is one."""
    account = {"email": "guide@example.com", "password": PASSWORD}
    call(service, "/auth/users/", account)
    access = call(service, "/auth/jwt/create/", account)["access"]
    made: str = call(service, "/api/referral-code/", {"expiration_date": "2030-12-31"}, access)["code"]
    return made


def call(service: Service, path: str, body: dict[str, str], access: str = "") -> dict[str, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {access}"} if access else {})
    with urlopen(Request(service.url + path, json.dumps(body).encode(), headers)) as answer:
        return json.load(answer)


def run(commands: str, service: Service, code: str, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        env={"PATH": os.environ["PATH"]} | environment | {"URL": service.url, "CODE": code},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_server_registers_somebody_and_signs_them_in(service, code):
    [commands] = blocks("integrate.md", "Registering with a code from a server", "sh")
    checked, registered, refreshed = map(json.loads, run(commands, service, code).replace("}{", "}\n{").splitlines())
    assert checked["code"] == code
    assert registered["referrer"] == checked["referrer"]
    assert refreshed.keys() == {"access", "refresh"}


def test_a_page_registers_somebody_and_says_which_field_is_at_fault(service, code, browser: Browser):
    [script] = blocks("integrate.md", "Registering with a code from a single-page app", "js")
    page = browser.new_page()
    page.goto(service.url)
    ask = f"([email, code]) => {{ {script} return register(location.origin, email, {PASSWORD!r}, code); }}"
    good = page.evaluate(ask, ["app@example.com", code])
    assert good["user"]["email"] == "app@example.com"
    assert page.evaluate(ask, ["app@example.com", code])["wrong"].keys() == {"email"}
    assert page.evaluate(ask, ["new@example.com", "NONE-SUCH"])["wrong"].keys() == {"referral_code"}
    page.close()


def test_a_refusal_looks_as_it_is_told(service, code):
    [commands] = blocks("errors-and-limits.md", "Errors and limits", "sh")
    problem = json.loads(run(commands, service, code))
    assert (problem["status"], problem["errors"][0]["field"], problem["errors"][0]["code"]) == (
        400,
        "email",
        "invalid_email",
    )


def test_what_is_over_a_limit_looks_as_it_is_told():
    [commands] = blocks("errors-and-limits.md", "Limits", "sh")
    with running_service(THROTTLE_CODE_CHECK="20/day") as service:
        answer = run(commands, service, "")
    assert " 429 " in answer.partition("\n")[0]
    assert re.search(r"(?mi)^retry-after: \d+\s*$", answer)
    assert '"code":"throttled"' in answer


def test_the_demo_is_signed_in_to_and_looked_at(tmp_path):
    commands = "".join(blocks("try.md", "Trying it out", "sh"))
    with running_service() as service:
        here = f"cd {tmp_path}\n" + commands.replace(".venv/bin/python manage.py", f"{sys.executable} {ROOT}/manage.py")
        said = run(here, service, "", **service.environment)
    given, word = re.search(r"  (\w+)\.(\w+)@demo\.example  brought", said).groups()
    assert '"results":[{"id":' in said
    assert '"series":[{"day":' in said
    assert f"<title>{given}-{word} invites you</title>" in said
