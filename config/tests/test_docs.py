"""The pages in `docs/` name what there is."""

import re
from xml.dom import minidom

import pytest
from rest_framework.exceptions import APIException

from config.tests.live import LIMITS, ROOT
from referrals import errors  # noqa: F401 (so that they are known, those of users with them)

UNSEEN = {"authentication_failed"}  # callers see another in its place

TESTS = "\n".join(
    file.read_text("utf-8") for app in ("config", "users", "referrals") for file in ROOT.glob(f"{app}/tests/*.py")
)
BENCHMARK = "".join(file.read_text("utf-8") for file in ROOT.glob("bench/*.py"))
SETTINGS = (ROOT / ".env.example").read_text("utf-8")


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_every_test_and_setting_on_a_page_exists(page):
    text = page.read_text("utf-8")
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in TESTS, name
    for name in re.findall(r"`([A-Z]+_[A-Z_]+)`", text):
        assert f"# {name}=" in SETTINGS or f'"{name}"' in BENCHMARK, name


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_page_and_to_a_heading_of_it(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in link:
            continue
        path, _hash, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        headings = re.findall(r"(?m)^#+ (.*)$", target.read_text("utf-8")) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, link


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text("utf-8")
    assert {f"]({page.name})" for page in ROOT.glob("docs/*.md") if page.name != "README.md"} <= {
        f"]({name})" for name in re.findall(r"\]\(([\w.-]+)\)", index)
    }


def test_the_picture_is_a_picture_and_asks_for_nothing():
    picture = (ROOT / "docs/architecture.svg").read_text("utf-8")
    assert minidom.parseString(picture).documentElement.tagName == "svg"  # noqa: S318 (our own)
    assert "prefers-color-scheme: dark" in picture
    assert not re.search(r"href|url\((?!#)|<script|@import", picture)


def test_every_code_that_this_service_has_is_explained():
    refusals = [APIException]
    for refusal in refusals:
        refusals += [
            found
            for found in refusal.__subclasses__()
            if found.__module__.startswith(("users", "referrals", "config", "rest_framework.exc"))
        ]
    table = (ROOT / "docs/errors-and-limits.md").read_text("utf-8").partition("## Codes\n")[2].partition("\n## ")[0]
    told = {
        code for row in table.splitlines() for code in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    assert {refusal.default_code for refusal in refusals} - UNSEEN <= told


def test_every_limit_is_explained_with_its_default():
    text = (ROOT / "docs/errors-and-limits.md").read_text("utf-8")
    assert dict(re.findall(r"\| `(THROTTLE_\w+)` \| `(\S+)` \|", text)) == LIMITS


def test_no_promise_of_the_security_page_is_without_its_test():
    promises = (ROOT / "docs/security.md").read_text("utf-8").partition("## OWASP")[0]
    rows = [row for row in promises.splitlines() if row.startswith("| ") and not row.startswith("| promise")]
    assert len(rows) > 30
    assert not [row for row in rows if "`test_" not in row and "`conftest.py`" not in row]
