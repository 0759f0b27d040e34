"""The pages in `docs/` name what there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
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


def test_no_promise_of_the_security_page_is_without_its_test():
    promises = (ROOT / "docs/security.md").read_text("utf-8").partition("## OWASP")[0]
    rows = [row for row in promises.splitlines() if row.startswith("| ") and not row.startswith("| promise")]
    assert len(rows) > 30
    assert not [row for row in rows if "`test_" not in row and "`conftest.py`" not in row]
