"""Share links: the page they lead to, what messengers show of it, the way straight on, and the link as a picture."""

import re
import struct
import zlib
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import segno
from django.contrib.staticfiles import finders

from referrals import services
from referrals.tests.factories import make_code, make_expired_code
from users.models import User
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db

JOIN = "https://app.example.com/join?plan=free#form"
QR = "/api/referral-code/qr/"


@pytest.fixture
def ada():
    return make_code(make_user(username="ada"), wish="ADA-2030")


def unusable() -> list[str]:
    """A code of each kind that nobody can register with: deleted, blocked, expired, unknown, none at all."""
    deleted, blocked = make_code(), make_code()
    services.retire_code(deleted.owner)
    User.objects.filter(pk=blocked.owner_id).update(is_active=False)
    return [deleted.code, blocked.code, make_expired_code().code, "UNKNOWN", "CURRENT", "%00", "x" * 500]


# --- The page ---


def test_where_the_company_has_a_page_to_sign_up_a_button_leads_there_with_the_code(client, settings, ada):
    settings.SIGNUP_URL = JOIN
    page = client.get("/r/ada2o3o").text
    assert 'href="https://app.example.com/join?plan=free&amp;ref=ADA-2030#form"' in page
    assert "/api/register-with-referral/" not in page


def test_where_it_has_none_the_call_that_registers_is_shown_and_works(client, api, settings, ada):
    settings.SIGNUP_URL = ""
    page = client.get("/r/ADA-2030").text
    assert "button" not in page
    [path] = re.findall(rf"{settings.PUBLIC_URL}(\S+/) ", page)
    [body] = re.findall(r"{&quot;email|{\"email.*}", page)
    assert '"referral_code": "ADA-2030"' in body
    new = {"email": "new@example.com", "password": "staple under the moon", "referral_code": "ADA-2030"}
    assert api.post(path, new).status_code == 201


@pytest.mark.parametrize("query", ["", "?redirect=1", "?next=https://evil.example/&url=//evil.example"])
def test_no_request_says_where_people_are_sent(client, settings, ada, query):
    """R11"""
    for url in ("", JOIN):
        settings.SIGNUP_URL = url
        response = client.get(f"/r/ADA-2030{query}", headers={"Referer": "https://evil.example/"})
        assert "evil.example" not in response.text + str(response.headers)


def test_the_way_straight_on_is_a_redirect_that_keeps_the_method(client, settings, ada):
    settings.SIGNUP_URL = JOIN
    for method in (client.get, client.head):
        response = method("/r/ada-2030?redirect=1")
        assert response.status_code == 307
        assert response["Location"] == "https://app.example.com/join?plan=free&ref=ADA-2030#form"
    assert client.get("/r/ADA-2030?redirect=0").status_code == 200
    settings.SIGNUP_URL = ""
    assert client.get("/r/ADA-2030?redirect=1").status_code == 200


@pytest.mark.parametrize("url", ["", JOIN])
@pytest.mark.parametrize("language", ["en", "ru"])
def test_what_cannot_be_used_gets_one_friendly_page_without_a_name(client, settings, url, language):
    settings.SIGNUP_URL = url
    answers = [
        client.get(f"/r/{code}{query}", headers={"Accept-Language": language})
        for code in unusable()
        for query in ("", "?redirect=1")
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({str({**answer.headers, "X-Request-ID": ""}) for answer in answers}) == 1
    assert f'<html lang="{language}">' in answers[0].text


def test_the_page_is_kept_by_nobody_and_found_by_no_search_engine(client, settings, ada):
    settings.SIGNUP_URL = JOIN
    for path in ("/r/ADA-2030", "/r/ADA-2030?redirect=1", "/r/UNKNOWN"):
        assert client.get(path)["Cache-Control"] == "no-store"
    for path in ("/r/ADA-2030", "/r/UNKNOWN"):
        assert '<meta name="robots" content="noindex">' in client.get(path).text


def test_the_page_with_all_that_it_loads_is_small(client, ada):
    page = client.get("/r/ADA-2030")
    assert "<script" not in page.text
    loaded = set(re.findall(r'(?:src|rel="\w+" href)="/static/([^"]+)"', page.text))
    assert loaded == {"pages/icon.svg", "pages/page.css"}
    assert len(page.content) + sum(len(read(name)) for name in loaded) < 30_000


def read(name: str) -> bytes:
    with open(finders.find(name), "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("language", "title"), [("en", "ada invites you"), ("ru", "ada приглашает вас"), ("", "ada invites you")]
)
def test_a_messenger_finds_a_card_with_a_picture(client, settings, ada, language, title):
    page = client.get("/r/ada2030", headers={"Accept-Language": language}).text
    card = dict(re.findall(r'<meta (?:property|name)="((?:og|twitter):[^"]+)" content="([^"]+)">', page))
    assert card["og:title"] == title
    assert card["og:url"] == ada.share_url
    assert "ADA-2030" in card["og:description"]
    assert card["og:image"].startswith(f"{settings.PUBLIC_URL}/static/")
    assert card["twitter:card"] == "summary_large_image"
    picture = read(urlsplit(card["og:image"]).path.removeprefix("/static/"))
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert [str(side) for side in struct.unpack(">II", picture[16:24])] == [
        card["og:image:width"],
        card["og:image:height"],
    ]
    assert len(picture) < 30_000


def test_a_name_is_text_and_nothing_else(client):
    """B15"""
    owner = make_user()
    User.objects.filter(pk=owner.pk).update(username='"><script>{{7*7}}')
    page = client.get(f"/r/{make_code(owner).code}").text
    assert "<script" not in page
    assert "49" not in re.findall("<title>.*</title>", page)[0]


# --- The picture of it ---


def modules(png: bytes, across: int) -> list[list[bool]]:
    """Whether each module of a picture `across` modules wide is dark. It is told by what is in its middle."""
    width, _height, depth = struct.unpack(">IIB", png[16:25])
    assert depth == 1
    row = 1 + (width + 7) // 8
    chunks = re.findall(rb"IDAT(.*)....\x00\x00\x00\x00IEND", png, re.DOTALL)
    pixels, lines = zlib.decompress(b"".join(chunks)), [bytes(row)]
    for start in range(0, len(pixels), row):
        line, above = pixels[start : start + row], lines[-1] if pixels[start] == 2 else bytes(row)
        assert line[0] in (0, 2)  # as it is, or what is to be added to the line above: RFC 2083, 6
        lines.append(bytes((one + other) % 256 for one, other in zip(line, above, strict=True)))
    middles = [int((number + 0.5) * width / across) for number in range(across)]
    return [[not lines[1 + y][1 + x // 8] >> (7 - x % 8) & 1 for x in middles] for y in middles]


def test_the_picture_in_either_format_is_of_the_share_link(as_user, ada):
    expected = [
        [bool(module) for module in row] for row in segno.make_qr(ada.share_url, error="m").matrix_iter(border=4)
    ]
    png = as_user(ada.owner).get(QR, {"format": "png"})
    assert (png.status_code, png["Content-Type"]) == (200, "image/png")
    assert modules(png.content, len(expected)) == expected

    svg = as_user(ada.owner).get(QR, {"format": "svg"})
    assert (svg.status_code, svg["Content-Type"]) == (200, "image/svg+xml")
    picture = ElementTree.fromstring(svg.content)  # noqa: S314 (our own)
    assert picture.get("viewBox") == f"0 0 {8 * len(expected)} {8 * len(expected)}"
    assert b"style" not in svg.content


@pytest.mark.parametrize(
    ("accept", "query", "content_type"),
    [
        (None, "", "image/svg+xml"),
        ("*/*", "", "image/svg+xml"),
        ("image/png", "", "image/png"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "", "image/svg+xml"),
        ("*/*", "?format=png", "image/png"),
    ],
)
def test_the_format_is_what_is_asked_for(as_user, ada, accept, query, content_type):
    headers = {"HTTP_ACCEPT": accept} if accept else {}
    assert as_user(ada.owner).get(QR + query, **headers)["Content-Type"] == content_type


def test_a_picture_that_there_is_not_is_refused(api, as_user, ada):
    client = as_user(ada.owner)
    assert client.get(QR, {"format": "gif"}).json()["errors"][0]["field"] == "format"
    assert client.get(QR, HTTP_ACCEPT="image/gif").status_code == 406
    assert client.get(f"{QR}?format=png", HTTP_ACCEPT="image/svg+xml").status_code == 406
    assert api.get(QR).status_code == 401
    for nobody in (make_user(), make_expired_code().owner):
        refused = as_user(nobody).get(QR, {"format": "png"})
        assert (refused.status_code, refused.json()["code"]) == (404, "no_active_code")
