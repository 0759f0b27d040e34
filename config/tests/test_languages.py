"""Words in English and Russian: all of them, everywhere, and the codes in neither."""

import ast
import re
from pathlib import Path

import polib
import pytest
from django.template.base import Lexer, TokenType

from config.api.middleware import language_of
from config.api.remembering import SHORT
from referrals.tests.factories import make_code
from users.tests.factories import PASSWORD, make_user

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = ROOT / "locale/ru/LC_MESSAGES/django.po"
CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
RUSSIAN = {"HTTP_ACCEPT_LANGUAGE": "ru-RU,ru;q=0.9"}


def words_in_code() -> set[str]:
    """Every literal in a call of `_`, `gettext` or `gettext_lazy`."""
    found = set()
    for app in ("config", "users", "referrals"):
        for file in (ROOT / app).rglob("*.py"):
            if "tests" in file.parts or "migrations" in file.parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                called = getattr(getattr(node, "func", None), "id", "")
                if called in ("_", "gettext", "gettext_lazy") and isinstance(node.args[0], ast.Constant):
                    found.add(node.args[0].value)
    return found


def words_in_templates() -> set[str]:
    """Every literal of a `translate` tag; `blocktranslate` is looked at by the tests of its pages and mails."""
    found = set()
    for file in (ROOT / "templates").rglob("*.*"):
        for token in Lexer(file.read_text(encoding="utf-8")).tokenize():
            if token.token_type == TokenType.BLOCK and token.contents.startswith("translate "):
                found.add(token.split_contents()[1].strip('"'))
    return found


def test_every_word_has_its_russian():
    catalogue = {entry.msgid: entry for entry in polib.pofile(str(CATALOGUE))}
    words = words_in_code() | words_in_templates()
    assert len(words) > 100
    assert not words - catalogue.keys()
    assert not [entry.msgid for entry in catalogue.values() if not entry.translated() or "fuzzy" in entry.flags]


def test_russian_keeps_the_placeholders():
    holes = re.compile(r"%\(\w+\)[sd]|\{\w+\}|`[^`]+`")
    for entry in polib.pofile(str(CATALOGUE)):
        assert sorted(holes.findall(entry.msgid)) == sorted(holes.findall(entry.msgstr)), entry.msgid


def test_what_is_compiled_is_what_is_written():
    compiled = {entry.msgid: entry.msgstr for entry in polib.mofile(str(CATALOGUE.with_suffix(".mo")))}
    assert compiled == {entry.msgid: entry.msgstr for entry in polib.pofile(str(CATALOGUE))}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("get", "/auth/users/me/", None),
        ("get", "/auth/nothing/", None),
        ("put", "/auth/users/", {}),
        ("post", "/auth/users/", {"email": "no", "username": "!", "password": "1"}),
        ("post", "/auth/users/", {"email": "taken@example.com", "password": "password", "referral_code": "UNKNOWN"}),
        ("post", "/auth/jwt/create/", {"email": "a@example.com", "password": "wrong"}),
        ("post", "/auth/jwt/refresh/", {"refresh": "x"}),
        ("post", "/auth/users/activation/", {"uid": "x", "token": "y"}),
        ("get", "/api/referral-code/UNKNOWN/", None),
    ],
)
def test_an_error_speaks_the_readers_language_and_keeps_its_code(api, method, path, body):
    make_user(email="taken@example.com")
    english = getattr(api, method)(path, body).json()
    russian = getattr(api, method)(path, body, **RUSSIAN).json()
    assert english["code"] == russian["code"]
    pairs = [(english, russian), *zip(english.get("errors", []), russian.get("errors", []), strict=True)]
    for before, after in pairs:
        assert not CYRILLIC.search(before["detail"])
        assert CYRILLIC.search(after["detail"]), after
        assert (before["code"], before.get("field")) == (after["code"], after.get("field"))
    assert CYRILLIC.search(russian["title"])


@pytest.mark.django_db
@pytest.mark.parametrize("language", ["en", "ru"])
def test_mail_speaks_the_language_of_its_reader_and_not_of_who_asks(as_user, mailbox, language):
    code = make_code(make_user(language=language))
    asker = as_user(make_user(language="en"))
    asker.post("/api/referral-code/email/", {"email": code.owner.email}, **RUSSIAN)
    [mail] = mailbox()
    [(html, _kind)] = mail.alternatives
    for text in (mail.subject, mail.body, html):
        assert bool(CYRILLIC.search(text)) is (language == "ru")


@pytest.mark.django_db
def test_who_signs_up_in_russian_gets_russian_mail(api, mailbox):
    api.post("/auth/users/", {"email": "lev@example.com", "password": PASSWORD}, **RUSSIAN)
    [mail] = mailbox()
    assert mail.subject == "Подтвердите адрес электронной почты"


@pytest.mark.django_db
def test_the_schema_is_the_same_in_every_language(api):
    assert api.get("/api/schema/?format=json", **RUSSIAN).content == api.get("/api/schema/?format=json").content


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/r/SUMMER", "/r/UNKNOWN", "/account/activate/a/b/", "/nothing"])
def test_pages_speak_the_readers_language(client, path):
    make_code(wish="SUMMER")
    assert not CYRILLIC.search(client.get(path).content.decode())
    russian = client.get(path, **RUSSIAN).content.decode()
    assert CYRILLIC.search(russian)
    assert '<html lang="ru">' in russian


def test_no_long_header_is_remembered():
    """G7: the memory of who only sends headers would grow with them."""
    kept = language_of.remembered.cache_info().currsize
    assert language_of("ru," + "en;q=0.1," * SHORT) == "ru"
    assert language_of.remembered.cache_info().currsize == kept
    assert [language_of("ru-RU,ru;q=0.9"), language_of("xx"), language_of("")] == ["ru", "en", "en"]


@pytest.mark.django_db
def test_the_same_refusal_is_told_to_each_in_their_own_language(client):
    """Whoever was told it first."""
    body = {"email": "ada@example.com", "password": "x" * 200}
    for accept, is_russian in (("ru", True), ("en", False), ("ru", True)):
        answer = client.post("/auth/users/", body, headers={"Accept-Language": accept}, content_type="application/json")
        [error] = answer.json()["errors"]
        assert (error["field"], error["code"]) == ("password", "max_length")
        assert "128" in error["detail"]
        assert bool(CYRILLIC.search(error["detail"])) is is_russian
