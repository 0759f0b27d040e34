"""What people see, in a real browser: every page renders, complains of nothing, and asks no other host (H2)."""

import dataclasses
import email
import email.policy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import count

import pytest
from playwright.sync_api import APIRequestContext, Browser, Page, Playwright, expect

from config.tests.live import Service

pytestmark = [pytest.mark.slow, pytest.mark.interface]

PASSWORD = "correct horse battery"
NEW_PASSWORD = "staple under the moon"
CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
numbers = count(1)
PHONE = {"viewport": {"width": 360, "height": 740}}
LOOKS = {
    "English, light": {"locale": "en"},
    "Russian, dark": {"locale": "ru", "color_scheme": "dark"},
    "Russian, phone": {"locale": "ru", **PHONE},
    "English, dark, phone, no JavaScript": {
        "locale": "en",
        "color_scheme": "dark",
        "java_script_enabled": False,
        **PHONE,
    },
}
each_look = pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
two_looks = pytest.mark.parametrize("look", [*LOOKS.values()][1::2], ids=[*LOOKS.keys()][1::2])

TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"

VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  complain(`${event.effectiveDirective} stopped ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`);
});
"""

# Texts whose contrast is below what WCAG 2.2 asks for (1.4.3), by its own formula.
PALE_TEXTS = """
(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (channel) => (channel <= 10.31 ? channel / 3294.6 : ((channel / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    const color = element ? channels(getComputedStyle(element).backgroundColor) : [255, 255, 255];
    return color.length === 4 && color[3] < 1 ? behind(element.parentElement) : color;
  };
  const contrast = (element) => {
    const shades = [channels(getComputedStyle(element).color), behind(element)].map(luminance);
    return (Math.max(...shades) + 0.05) / (Math.min(...shades) + 0.05);
  };
  const speaks = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.querySelectorAll("body *")].filter(speaks).filter((element) => contrast(element) < 4.5)
    .map((element) => `${element.textContent.trim()}: ${contrast(element)}`);
})()
"""


@pytest.fixture(scope="module")
def api(playwright: Playwright, service: Service) -> Iterator[APIRequestContext]:
    context = playwright.request.new_context(base_url=service.url)
    yield context
    context.dispose()


@contextmanager
def window(browser: Browser, service: Service, status: int = 200, **look) -> Iterator[Page]:
    """A window of a fresh profile. When it closes: no error, no warning, nothing that the page's content security
    policy had to stop, and nothing asked of any other host.

    The one complaint allowed is that the page itself has the status it shall have.
    """
    context = browser.new_context(base_url=service.url, **look)
    complaints, asked = [], []
    context.expose_function("complain", lambda text: complaints.append(text))
    context.add_init_script(VIOLATIONS)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type in ("error", "warning", "assert") else None,
    )
    context.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    own = (f"{service.url}/", f"blob:{service.url}/", "data:")
    assert [url for url in asked if not url.startswith(own)] == []
    assert [text for text in complaints if f"responded with a status of {status} " not in text] == []


def assert_it_looks_right(page: Page, look: dict) -> None:
    assert not page.evaluate(TOO_WIDE)
    assert page.evaluate(PALE_TEXTS) == []
    assert page.locator("html").get_attribute("lang") == look["locale"]
    assert bool(CYRILLIC.search(page.inner_text("main"))) is (look["locale"] == "ru")
    assert page.evaluate("document.images.length === 0 || [...document.images].every((image) => image.naturalWidth)")


def sign_up(api: APIRequestContext, name: str, language: str = "en", **more: str) -> dict:
    """An account `name`@example.com; the answer, and the header that signs it in as `headers`."""
    body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
    answer = api.post("/auth/users/", data=body | more, headers={"Accept-Language": language})
    assert answer.status == 201, answer.text()
    return answer.json() | {"headers": sign_in(api, body["email"])}


def sign_in(api: APIRequestContext, address: str, password: str = PASSWORD) -> dict[str, str]:
    answer = api.post("/auth/jwt/create/", data={"email": address, "password": password})
    assert answer.status == 200, answer.text()
    return {"Authorization": f"Bearer {answer.json()['access']}"}


def create_code(api: APIRequestContext, account: dict) -> str:
    next_year = (datetime.now(UTC) + timedelta(days=365)).date().isoformat()
    answer = api.post("/api/referral-code/", data={"expiration_date": next_year}, headers=account["headers"])
    assert answer.status == 201, answer.text()
    return answer.json()["code"]


def newest_mail(service: Service, address: str, about: str = "") -> EmailMessage:
    text = service.newest_mail(address, about)
    return email.message_from_bytes(text.encode(), policy=email.policy.default)


def path_in(mail: EmailMessage, service: Service) -> str:
    [link] = re.findall(r"https?://\S+/account/\S+", mail.get_body(("plain",)).get_content())
    assert link.startswith(service.url)
    return link.removeprefix(service.url)


# --- Pages without JavaScript of their own ---


@each_look
def test_the_start_page_leads_to_the_documentation(browser, service, look):
    with window(browser, service, **look) as page:
        page.goto("/")
        expect(page.get_by_role("heading", level=1)).to_have_text(
            {"en": "Referral service", "ru": "Реферальный сервис"}[look["locale"]]
        )
        assert_it_looks_right(page, look)
        assert [link.get_attribute("href") for link in page.get_by_role("link").all()] == [
            "/redoc/",
            "/swagger/",
            "/api/schema/?format=json",
            "/admin/",
        ]


@each_look
def test_an_invitation_shows_the_code_while_it_is_good(browser, service, api, look):
    owner = sign_up(api, f"inviter{next(numbers)}")
    code = create_code(api, owner)
    with window(browser, service, **look) as page:
        page.goto(f"/r/{code.lower()}")
        expect(page.get_by_role("heading", level=1)).to_contain_text(owner["username"])
        expect(page.get_by_text(code, exact=True)).to_be_visible()
        assert_it_looks_right(page, look)
        page.locator("summary").click()
        expect(page.get_by_text("/api/register-with-referral/")).to_be_visible()
        assert_it_looks_right(page, look)

    api.delete("/api/referral-code/", headers=owner["headers"])
    with window(browser, service, status=404, **look) as page:
        page.goto(f"/r/{code}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_text(code)).to_have_count(0)
        assert_it_looks_right(page, look)


@two_looks
def test_the_links_of_mails_do_their_work_at_the_press_of_a_button(browser, service, api, look):
    language = look["locale"]
    name = f"reader{next(numbers)}"
    account = sign_up(api, name, language)
    address, new_address = account["email"], f"new-{name}@example.com"

    press(browser, service, path_in(newest_mail(service, address), service), look)
    assert api.get("/auth/users/me/", headers=account["headers"]).json()["email_verified"] is True

    change = {"new_email": new_address, "current_password": PASSWORD}
    assert api.post("/auth/users/set_email/", data=change, headers=account["headers"]).status == 204
    press(browser, service, path_in(newest_mail(service, new_address, "/change-email/"), service), look)
    assert api.get("/auth/users/me/", headers=account["headers"]).json()["email"] == new_address

    api.post("/auth/users/reset_password/", data={"email": new_address})
    link = path_in(newest_mail(service, new_address, "/reset-password/"), service)
    with window(browser, service, status=400, **look) as page:
        page.goto(link)
        page.locator("input[type=password]").fill("1f9.Kq7")
        page.get_by_role("button").click()
        expect(page.get_by_role("alert")).to_be_visible()
        assert_it_looks_right(page, look)
    press(browser, service, link, look, NEW_PASSWORD)
    sign_in(api, new_address, NEW_PASSWORD)

    # The old address takes the account back, and gets a link to set a password.
    press(browser, service, path_in(newest_mail(service, address), service), look)
    press(browser, service, path_in(newest_mail(service, address), service), look, NEW_PASSWORD)
    sign_in(api, address, NEW_PASSWORD)


def press(browser: Browser, service: Service, link: str, look: dict, password: str | None = None) -> None:
    """Open a link and press its button; once more, and it is refused."""
    with window(browser, service, status=400, **look) as page:
        for works in (True, False):
            page.goto(link)
            if password:
                page.locator("input[type=password]").fill(password)
            assert_it_looks_right(page, look)
            page.get_by_role("button").click()
            expect(page.get_by_role("status" if works else "alert")).to_be_visible()
            expect(page.get_by_role("button")).to_have_count(0)
            assert_it_looks_right(page, look)


# --- The documentation ---


def test_redoc_shows_every_operation_and_finds_them(browser, service, api):
    paths = api.get("/api/schema/?format=json").json()["paths"]
    summaries = {operation["summary"] for operations in paths.values() for operation in operations.values()}
    with window(browser, service) as page:
        page.goto("/redoc/")
        expect(page.get_by_role("heading", name="Referral service")).to_be_visible()
        headings = set(page.get_by_role("heading", level=2).all_inner_texts())
        assert summaries <= {heading.strip() for heading in headings}
        expect(page.get_by_alt_text("logo")).to_have_count(0)
        page.get_by_placeholder("Search...").fill("expired")
        expect(page.get_by_role("menuitem", name="Check a code")).to_be_visible()


def test_swagger_sends_a_request_and_shows_the_answer(browser, service, api):
    sign_up(api, "trier")
    with window(browser, service) as page:
        page.goto("/swagger/")
        operation = page.locator(".opblock", has_text="Sign in")
        operation.get_by_role("button", name="/auth/jwt/create/").first.click()
        operation.get_by_role("button", name="Try it out").click()
        body = f'{{"username": "trier", "password": "{PASSWORD}"}}'
        operation.locator("textarea.body-param__text").fill(body)
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table")).to_contain_text('"access"')
        expect(operation.locator(".live-responses-table")).to_contain_text("200")


# --- The admin ---


def sign_in_staff(page: Page, service: Service, name: str) -> None:
    """Make a superuser, and have them sign in."""
    variables = service.environment | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    command = dataclasses.replace(service, environment=variables)
    command.manage("createsuperuser", "--noinput", "--email", f"{name}@example.com")
    page.goto("/admin/")
    page.locator("[name=username]").fill(f"{name}@example.com")
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[type=submit]").click()
    expect(page).to_have_url(f"{service.url}/admin/")


def test_staff_find_users_codes_referrals_and_mail_in_the_admin(browser, service, api):
    owner = sign_up(api, "owner")
    code = create_code(api, owner)
    sign_up(api, "friend", referral_code=code)
    with window(browser, service, locale="en", viewport={"width": 1440, "height": 900}) as page:
        page.goto("/admin/")
        expect(page).to_have_title("Log in | Referral service")
        expect(page.get_by_label("E-mail address")).to_be_visible()
        expect(page.get_by_label("Password").first).to_be_visible()
        sign_in_staff(page, service, "root")
        for link, found in {
            "Users": ["owner", "owner@example.com"],
            "Referral codes": [code, "owner"],
            "Referrals": ["friend", "owner", code],
            "Outgoing e-mails": ["friend@example.com", "Confirm your e-mail address"],
        }.items():
            page.goto("/admin/")
            page.locator("#nav-sidebar-apps").get_by_role("link", name=link, exact=False).last.click()
            for words in found:
                expect(page.get_by_role("row").filter(has_text=words).first).to_be_visible()


def test_staff_work_in_the_admin_with_all_that_its_scripts_do(browser, service, api):
    """H2: pickers, pop-ups, selects that search, the theme, under the policy of the page."""
    sign_up(api, "worked-on")
    with window(browser, service, locale="en", viewport={"width": 1440, "height": 900}) as page:
        sign_in_staff(page, service, "worker")
        page.get_by_text("worker@example.com").first.click()
        page.get_by_text("Dark", exact=True).click()
        expect(page.locator("html")).to_have_class("dark")
        page.goto("/admin/users/user/?q=worked-on")
        page.get_by_role("link", name="worked-on", exact=True).click()
        page.locator("#id_is_active").uncheck()
        page.locator("#id_user_permissions_from option").first.click()
        page.locator("#id_user_permissions_add, #id_user_permissions_add_link").first.click()
        expect(page.locator("#id_user_permissions_to option")).to_have_count(1)
        page.get_by_role("button", name="Save and continue editing").click()
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        page.goto("/admin/users/user/?q=worked-on")
        page.locator("#changelist a", has_text="Filters").click()
        page.get_by_role("link", name="Blocked", exact=True).click()
        expect(page).to_have_url(re.compile("state=blocked"))
        page.locator("input.action-select").first.check()
        page.locator("select[name=action]").select_option("unblock")
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_text("Unblocked: 1.")).to_be_visible()
        page.goto("/admin/users/user/add/")
        page.get_by_label("E-mail address").fill("added@example.com")
        page.goto("/admin/auth/group/add/")
        page.goto("/admin/password_change/")
        page.goto("/admin/users/auditevent/")
        page.locator("#result_list a").first.click()
        page.get_by_text("worker@example.com").first.click()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in again")).to_be_visible()


ADMIN_LOOKS = {
    "English, light": {"locale": "en", "viewport": {"width": 1440, "height": 900}},
    "Russian, dark": {"locale": "ru", "color_scheme": "dark", "viewport": {"width": 1440, "height": 900}},
    "English, dark, phone": {"locale": "en", "color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
    "Russian, phone": {"locale": "ru", "viewport": {"width": 390, "height": 844}},
}
TITLES = {
    "en": ["Registrations", "Top referrers", "E-mails given up", "What happened last"],
    "ru": ["Регистрации", "Лучшие рефереры", "Неотправленные письма", "Последние события"],
}
OF_ACCOUNT = {
    "en": ["Code", "Referred by", "Referrals", "What happened"],
    "ru": ["Код", "Кто привёл", "Рефералы", "События"],
}
DRAWN = """
[...document.querySelectorAll("canvas.chart")].map((canvas) =>
  new Set(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data).size > 2)
"""


@pytest.mark.parametrize("look", ADMIN_LOOKS.values(), ids=ADMIN_LOOKS.keys())
def test_staff_see_at_a_glance_how_it_goes_and_who_brought_whom(browser, service, api, look):
    """H2"""
    number, language = next(numbers), look["locale"]
    owner = sign_up(api, f"bringer{number}")
    code = create_code(api, owner)
    sign_up(api, f"brought{number}", referral_code=code)
    with window(browser, service, **look) as page:
        page.goto("/admin/")
        assert not page.evaluate(TOO_WIDE)
        sign_in_staff(page, service, f"looker{number}")
        for title in TITLES[language]:
            expect(page.locator("#main").get_by_role("heading", name=title, exact=True)).to_be_visible()
        expect(page.locator(".staff-card").get_by_role("link", name=f"bringer{number}").first).to_be_visible()
        assert page.evaluate(DRAWN) == [True, True]
        assert_the_admin_looks_right(page, language)
        for path, words in (("users/user", f"bringer{number}"), ("referrals/referral", f"brought{number}")):
            page.goto(f"/admin/{path}/?q=bringer{number}")
            expect(page.get_by_text(words, exact=True).first).to_be_visible()
            assert_the_admin_looks_right(page, language)
        page.goto(f"/admin/users/user/{owner['id']}/change/")
        for title in OF_ACCOUNT[language]:
            expect(page.locator("#main").get_by_role("heading", name=title, exact=True)).to_be_visible()
        expect(page.locator(".staff-card").get_by_role("link", name=f"brought{number}")).to_be_visible()
        assert_the_admin_looks_right(page, language)


def assert_the_admin_looks_right(page: Page, language: str) -> None:
    assert not page.evaluate(TOO_WIDE)
    assert page.evaluate(PALE_TEXTS.replace("body *", ".staff-card *")) == []
    assert page.locator("html").get_attribute("lang") == language
    assert bool(CYRILLIC.search(page.inner_text("#main"))) is (language == "ru")


# --- Mail ---


@two_looks
def test_a_mail_shows_its_text_its_code_and_its_button(browser, service, api, look):
    account = sign_up(api, f"addressee{next(numbers)}", look["locale"])
    code = create_code(api, account)
    activation = newest_mail(service, account["email"])
    api.post("/api/referral-code/email/", data={}, headers=account["headers"])
    for mail, words in ((activation, "/account/activate/"), (newest_mail(service, account["email"]), code)):
        with window(browser, service, **look) as page:
            page.set_content(mail.get_body(("html",)).get_content())
            expect(page.get_by_text(words, exact=False).first).to_be_visible()
            link = page.get_by_role("link").first.get_attribute("href")
            assert link in mail.get_body(("plain",)).get_content()
            assert link.startswith(f"{service.url}/")
            assert not page.evaluate(TOO_WIDE)
            assert page.evaluate(PALE_TEXTS) == []
            assert bool(CYRILLIC.search(page.inner_text("body"))) is (look["locale"] == "ru")
