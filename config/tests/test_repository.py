"""What is kept in the repository, and what comes with a fresh database: no secret, nobody."""

import re
import subprocess

import pytest

from config.tests.live import ROOT
from users.models import User

PATTERNS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a key of a cloud": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}\b",
    "a token of a forge": r"\b(gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{60,}|glpat-[0-9A-Za-z_-]{20})\b",
    "a token of a provider": r"\b(xox[abprs]-[0-9A-Za-z-]{10,}|sk_live_[0-9A-Za-z]{20,}|SG\.[\w-]{20,}\.[\w-]{20,})\b",
    "a signed token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}",
    "a made-up secret": r"(?m:^\s*(SECRET_KEY|JWT_SIGNING_KEY|\w*PASSWORD|\w*CLIENT_SECRET)=[\w+/-]{24,}\s*$)",
    "a password in an address": r"\b(postgres(ql)?|rediss?|smtps?|https?)://[^\s:/@{}$]*:(?!password@)[^\s@{}$/\"']{12,}@",
}
SECRET = re.compile("|".join(f"({pattern})" for pattern in PATTERNS.values()))
NEVER = re.compile(r"(^|/)(\.env(\..*)?|.*\.(pem|key|p12|sqlite3)|id_(rsa|ed25519)|secrets/.*|certs/.*)$")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone")
    return done.stdout.decode(errors="replace")


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE " + "KEY-----",
        "AKIA" + "A" * 16,
        "ghp_" + "a" * 36,
        "SECRET_KEY=" + "a" * 64,
        "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0xxx." + "a" * 43,
        "postgres://owner:" + "hunter2hunter2@db.example.com/name",
    ],
)
def test_a_secret_would_be_seen(text):
    assert SECRET.search(text)


@pytest.mark.interface
def test_no_file_holds_a_secret_and_no_file_for_secrets_is_there():
    """S5"""
    names = git("ls-files", "-z").split("\0")[:-1]
    assert [name for name in names if NEVER.search(name) and name != ".env.example"] == []
    texts = {name: (ROOT / name).read_bytes().decode(errors="replace") for name in names if (ROOT / name).is_file()}
    found = {name: match[0] for name, text in texts.items() if (match := SECRET.search(text))}
    assert found == {}


@pytest.mark.slow
@pytest.mark.interface
def test_none_ever_did():
    """S5"""
    names = set(git("log", "--format=", "--name-only").split("\n"))
    assert [name for name in names if NEVER.search(name) and name != ".env.example"] == []
    added = "\n".join(line[1:] for line in git("log", "-p", "--format=", "-U0").split("\n") if line[:1] == "+")
    assert SECRET.search(added) is None


@pytest.mark.django_db
def test_a_fresh_database_knows_nobody():
    """S8"""
    assert not User.objects.exists()
