"""Lists: pages of at most 100 behind a signed cursor, at the same cost however deep."""

import re
from collections.abc import Callable
from typing import Any

from django.core import signing
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from config.api.compiled import Row

SIGNER = signing.Signer(salt="config.api.pagination")
ENDS = (0, 2**63 - 1)
"""Between which every id is."""

ORDINARY = re.compile(r"(?:cursor=[^&#]+)?(?:(?:^|&)(limit=[0-9]+))?")
"""The query of a first page, and those of the links that lead on from it."""


class NewestFirst(BasePagination):
    """Pages ordered by falling id, which is the order of creation and the order of the index."""

    page_size = 20
    max_page_size = 100

    def paginate_rows(self, find: Callable[[int, bool, int], list[Row]], request: Request) -> list[Row]:
        """The rows of the page that is asked for; `find(bound, is_backward, most)` finds them.

        It returns the `most` rows that are next to the id `bound` and below it or, backward, above it, the nearest
        first. Each begins with its id.
        """
        limit = self._limit(request)
        is_backward, bound = self._cursor(request)
        found = find(bound, is_backward, limit + 1)
        page, is_more = found[:limit], len(found) > limit
        beside = bound + 1 if is_backward else bound - 1  # of an empty page: the bound itself is on the one next to it
        first, last = (page[0][0], page[-1][0]) if page else (beside, beside)
        if is_backward:
            page.reverse()
            first, last = last, first
        is_within = bound not in ENDS
        has_next, has_previous = (is_within, is_more) if is_backward else (is_more, is_within)
        url = request.build_absolute_uri() if has_next or has_previous else ""
        self.next = _link(url, last, is_backward=False) if has_next else None
        self.previous = _link(url, first, is_backward=True) if has_previous else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self.next, "previous": self.previous, "results": data})

    def _limit(self, request: Request) -> int:
        limit = request.query_params.get("limit", str(self.page_size))
        if len(limit) > 3 or not (limit.isascii() and limit.isdigit()) or not 1 <= int(limit) <= self.max_page_size:
            raise ValidationError({"limit": [_("A whole number from 1 to 100.")]})
        return int(limit)

    def _cursor(self, request: Request) -> tuple[bool, int]:
        """Whether the page goes back, and the id that it begins beside."""
        if (encoded := request.query_params.get("cursor")) is None:
            return False, ENDS[1]
        try:
            _offset, is_backward, bound = SIGNER.unsign_object(encoded)
            return is_backward, int(bound)
        except (signing.BadSignature, ValueError):
            raise ValidationError(
                {"cursor": [_("Take the cursor from a page's `next` or `previous`, unaltered.")]}
            ) from None

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return [
            _parameter("limit", "How many results a page has, 1 to 100.", limit),
            _parameter("cursor", "Where the page begins: take it from `next` or `previous` of another page."),
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        example = "https://refer.example.com/api/referrals/42/?cursor=WzAsZmFsc2UsIjI1Il0%3A2hT0"
        properties = {
            "next": link | {"description": "The page after this one.", "example": example},
            "previous": link | {"description": "The page before this one.", "example": None},
            "results": schema,
        }
        return {"type": "object", "required": list(properties), "properties": properties}


def _link(url: str, bound: int, *, is_backward: bool) -> str:
    """The URL of this page with another cursor: for an ordinary one, without taking it all apart."""
    cursor = SIGNER.sign_object([0, is_backward, str(bound)])
    base, _mark, query = url.partition("?")
    if not (ordinary := ORDINARY.fullmatch(query)):
        return replace_query_param(url, "cursor", cursor)
    rest = f"&{ordinary[1]}" if ordinary[1] else ""
    return f"{base}?cursor={cursor.replace(':', '%3A')}{rest}"


def _parameter(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    schema = schema or {"type": "string"}
    return {"name": name, "required": False, "in": "query", "description": description, "schema": schema}
