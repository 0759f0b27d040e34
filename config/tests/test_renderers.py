"""What becomes JSON by a library of its own looks as DRF would write it."""

import json
from datetime import UTC, datetime
from decimal import Decimal

from django.utils.translation import gettext_lazy
from rest_framework import renderers

from config.api.renderers import JSONRenderer

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
