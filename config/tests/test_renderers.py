"""What becomes JSON by a library of its own looks as DRF would write it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.test import RequestFactory
from django.utils.translation import gettext_lazy
from rest_framework import renderers
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request

from config.api.renderers import JSONRenderer, Negotiation

SHOWN = {
    "moment": datetime(2030, 1, 2, 3, 4, 5, 678900, UTC),
    "text": gettext_lazy("Not found"),
    "price": Decimal("1.50"),
    "ж": ["é", None, True, 1.5, {"inner": ()}],
    7: "a number for a name",
}


def test_an_answer_is_written_as_drf_writes_it():
    ours, theirs = (renderer.render(SHOWN) for renderer in (JSONRenderer(), renderers.JSONRenderer()))
    assert json.loads(ours) == json.loads(theirs)
    assert ours == theirs
    assert JSONRenderer().render(None) == b""


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("UTC")])
def test_a_moment_is_written_as_drf_writes_it_from_the_first_to_the_last(zone):
    for moment in ("0001-01-01", "1999-12-31T23:59:59.000001", "2030-01-01", "9999-12-31T23:59:59.999999"):
        shown = {"moment": datetime.fromisoformat(moment).replace(tzinfo=zone)}
        assert JSONRenderer().render(shown) == renderers.JSONRenderer().render(shown)


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "*/* ",
        "application/json",
        "application/*",
        "Application/JSON",
        "application/json; indent=4",
        "application/json;q=0",
        "application/json;q=0.1, image/png;q=0.9",
        "image/png, application/json",
        "text/html",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html, application/json;q=0.5",
        "application/jsonp",
        "json",
    ],
)
def test_what_is_asked_for_is_chosen_as_drf_chooses_it(accept):
    """B2"""
    given = {} if accept is None else {"HTTP_ACCEPT": accept}
    request = Request(RequestFactory().get("/api/", **given))
    for offered in ([JSONRenderer()], [JSONRenderer(), Picture()], [Picture(), JSONRenderer()]):
        ours, theirs = (
            chosen(negotiation(), request, offered) for negotiation in (Negotiation, DefaultContentNegotiation)
        )
        assert ours == theirs


class Picture(renderers.BaseRenderer):
    media_type, format = "image/png", "png"


def chosen(negotiation, request, offered):
    try:
        return negotiation.select_renderer(request, offered)
    except NotAcceptable:
        return None


@pytest.mark.django_db
def test_who_takes_no_json_gets_none_and_who_takes_anything_does(api):
    """B2"""
    for accept, status in [
        ("text/html", 406),
        ("image/*;q=0.9", 406),
        ("*/*", 200),
        ("text/html, */*;q=0.1", 200),
        ("application/json;q=0.1, text/html", 200),
    ]:
        response = api.get("/auth/o/", HTTP_ACCEPT=accept)
        assert response.status_code == status, accept
        assert response["Content-Type"] == f"application/{'json' if status == 200 else 'problem+json'}"
