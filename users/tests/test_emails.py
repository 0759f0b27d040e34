"""One mailbox, one spelling: what counts as the same address, what as another, and what as none (B10, L11, L23)."""

import pytest
from django.db import IntegrityError, transaction
from hypothesis import example, given, strategies as st

from users import emails
from users.emails import canonical_email, masked
from users.models import User
from users.tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

SPELLINGS = [
    ("BOB@Example.COM", "bob@example.com"),
    ("  bob@example.com ", "bob@example.com"),
    ("bob@ｅｘａｍｐｌｅ.com", "bob@example.com"),
    ("bob@example。com", "bob@example.com"),
    ("bob@\N{KELVIN SIGN}elvin.com", "bob@kelvin.com"),
    ("bob@\N{LATIN SMALL LIGATURE FI}n.com", "bob@fin.com"),
    ("bob@ПРИМЕР.рф", "bob@xn--e1afmkfd.xn--p1ai"),
    ("bob@XN--E1AFMKFD.xn--p1ai", "bob@xn--e1afmkfd.xn--p1ai"),
    ("=CMD|x@x.io", "=cmd|x@x.io"),
    ("+1@X.io", "+1@x.io"),
    ("a" * 64 + "@X.io", "a" * 64 + "@x.io"),
]

REFUSED = [
    "",
    "bob",
    "@x.io",
    "bob@",
    "bob@localhost",
    "bob@[127.0.0.1]",
    "bob@127.0.0.1",
    "bob@x.123",
    "bob@example.com.",
    "bob@x..io",
    "bob@-x.io",
    "bob@x_y.io",
    ".bob@x.io",
    "bob.@x.io",
    "b..b@x.io",
    "b b@x.io",
    '"bob"@x.io',
    "bob@eve@x.io",
    "bob@x.io,eve@x.io",
    "Bob <bob@x.io>",
    "bob(eve)@x.io",
    "a" * 65 + "@x.io",
    "a@" + "x" * 64 + ".io",
    "a@" + "x." * 126 + "io",
    "ｂob@x.io",
    "\N{KELVIN SIGN}@x.io",
    "\N{LATIN SMALL LETTER DOTLESS I}@x.io",
    "почта@x.io",
    "bob@straße.de",
    "bob@STRAẞE.de",
    "bob@σς.gr",
    "bob@x\N{ZERO WIDTH JOINER}y.io",
    "bob@x\N{SOFT HYPHEN}y.io",
    "bob@xn--a.com",
    "bob@\N{SNOWMAN}.net",
    "bob\x00@x.io",
    "bob@x.io\r\nBcc: eve@x.io",
    "bob\n@x.io",
    "bob@x.io\N{LINE SEPARATOR}eve@x.io",
]


@pytest.mark.parametrize(("spelling", "canonical"), SPELLINGS)
def test_every_spelling_of_an_address_is_one_account(api, spelling, canonical):
    """B10, L11, U4"""
    make_user(email=canonical)
    assert canonical_email(spelling.strip()) == canonical_email(canonical) == canonical
    again = api.post("/auth/users/", {"email": spelling, "password": PASSWORD})
    assert again.status_code == 400
    assert [(error["field"], error["code"]) for error in again.json()["errors"]] == [("email", "email_taken")]
    assert api.post("/auth/jwt/create/", {"email": spelling, "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize(("spelling", "canonical"), SPELLINGS)
def test_a_new_account_has_the_canonical_spelling(api, spelling, canonical):
    """B10"""
    assert api.post("/auth/users/", {"email": spelling, "password": PASSWORD}).json()["email"] == canonical


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_no_deliverable_address_gets_no_account(api, address):
    """B10, L23"""
    with pytest.raises(ValueError, match=r"\A\Z"):
        canonical_email(address)
    response = api.post("/auth/users/", {"email": address, "password": PASSWORD})
    assert response.status_code == 400
    assert {error["field"] for error in response.json()["errors"]} == {"email"}
    assert not User.objects.exists()


@pytest.mark.parametrize("address", ["bob@еxample.com", "bob@exаmple.com", "bob@strasse.de", "bob@xn--strae-oqa.de"])
def test_a_lookalike_is_another_person_and_gets_only_their_own_mail(api, mailbox, address):
    """B10: the first two have a Cyrillic letter; ss and sharp s are two domains since IDNA 2008."""
    for other in {"bob@example.com", "bob@strasse.de"} - {address}:
        make_user(email=other)
    assert api.post("/auth/users/", {"email": address, "password": PASSWORD}).status_code == 201
    assert api.post("/auth/users/reset_password/", {"email": address}).status_code == 204
    assert [message.recipients() for message in mailbox()] == [[canonical_email(address)]] * 2


def verdict(judge, address):
    try:
        return judge(address)
    except ValueError:
        return "refused"


@given(
    st.from_regex(emails.ORDINARY, fullmatch=True)
    | st.from_regex(r"[aZ0._+-]{1,66}@[aZ0.-]{1,66}", fullmatch=True)
    | st.text("aXn0.-_+@ \n", max_size=70)
    | st.lists(
        st.sampled_from(["a", "Z9", "xn", "--", "-", ".", "@", "io", "_", "+", "\u0131", "63" * 31]), max_size=9
    ).map("".join)
)
@example("a" * 65 + "@x.io")
@example("a@" + "x" * 64 + ".io")
@example("bob@x--y.io")
@example("bob@x.io\n")
def test_an_ordinary_address_is_what_the_whole_examination_makes_of_it(address):
    """B10, L11"""
    assert verdict(canonical_email, address) == verdict(emails._examined, address)


def test_ordinary_addresses_are_not_examined(monkeypatch):
    monkeypatch.delattr(emails, "_examined")
    assert canonical_email("Ada.Love-Lace+1@Mail.Ex-ample.co.UK") == "ada.love-lace+1@mail.ex-ample.co.uk"


def test_the_column_makes_an_address_canonical_on_every_save_and_in_every_lookup():
    user = User.objects.create(email="BOB@Example.COM", username="bob")
    user.refresh_from_db()
    assert user.email == "bob@example.com"
    assert User.objects.get(email="Bob@EXAMPLE.com") == user
    assert User.objects.get(email__in=["eve@x.io", "BOB@ｅxample.com"]) == user
    assert not User.objects.exclude(email="BOB@example.com").exists()
    User.objects.update(email="Eve@X.io")
    assert User.objects.values_list("email", flat=True).get() == "eve@x.io"


@pytest.mark.parametrize("nonsense", ["", "bob", "bob@", None, "bob@localhost"])
def test_a_lookup_of_what_is_no_address_finds_nobody(nonsense):
    make_user()
    assert not User.objects.filter(email=nonsense).exists()


def test_the_database_itself_keeps_addresses_apart():
    """C1, L11: whatever a form or a serializer has let through."""
    make_user(email="bob@example.com")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(email="BOB@example.com", username="another")


@pytest.mark.parametrize(
    ("address", "shown"), [("bob@example.com", "b***@example.com"), ("b@x.io", "b***@x.io"), ("@x.io", "***@x.io")]
)
def test_a_masked_address_tells_the_first_letter_and_the_domain(address, shown):
    """Z3"""
    assert masked(address) == shown
