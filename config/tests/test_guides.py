"""The guides do what they say: what is on the page is run here as it stands."""

import json
import os
import re
import subprocess
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser

from config.tests.live import ROOT, Service

pytestmark = [pytest.mark.slow, pytest.mark.interface]

PASSWORD = "correct horse battery"


def blocks(heading: str, language: str) -> list[str]:
    """The code under a heading of the page."""
    section = (ROOT / "docs/integrate.md").read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
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


def run(commands: str, service: Service, code: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        env={"PATH": os.environ["PATH"], "URL": service.url, "CODE": code},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_server_registers_somebody_and_signs_them_in(service, code):
    [commands] = blocks("Registering with a code from a server", "sh")
    checked, registered, refreshed = map(json.loads, run(commands, service, code).replace("}{", "}\n{").splitlines())
    assert checked["code"] == code
    assert registered["referrer"] == checked["referrer"]
    assert refreshed.keys() == {"access", "refresh"}


def test_a_page_registers_somebody_and_says_which_field_is_at_fault(service, code, browser: Browser):
    [script] = blocks("Registering with a code from a single-page app", "js")
    page = browser.new_page()
    page.goto(service.url)
    ask = f"([email, code]) => {{ {script} return register(location.origin, email, {PASSWORD!r}, code); }}"
    good = page.evaluate(ask, ["app@example.com", code])
    assert good["user"]["email"] == "app@example.com"
    assert page.evaluate(ask, ["app@example.com", code])["wrong"].keys() == {"email"}
    assert page.evaluate(ask, ["new@example.com", "NONE-SUCH"])["wrong"].keys() == {"referral_code"}
    page.close()


def test_a_refusal_looks_as_it_is_told(service, code):
    [commands] = blocks("Errors and limits", "sh")
    problem = json.loads(run(commands, service, code))
    assert (problem["status"], problem["errors"][0]["field"], problem["errors"][0]["code"]) == (
        400,
        "email",
        "invalid_email",
    )
