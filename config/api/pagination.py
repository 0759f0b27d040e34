"""Lists: pages of at most 100 behind a signed cursor, at the same cost however deep."""

from collections.abc import Callable
from typing import Any

from django.core import signing
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from config.api.prepared import Row

SIGNER = signing.Signer(salt="config.api.pagination")
ENDS = (0, 2**63 - 1)
"""Between which every id is."""


class NewestFirst(CursorPagination):
    """Pages ordered by falling id, which is the order of creation and the order of the index."""

    ordering = "-id"
    page_size = 20
    max_page_size = 100
    page_size_query_param = "limit"
    cursor_query_description = "Where the page begins: take it from `next` or `previous` of another page."
    page_size_query_description = "How many results a page has, 1 to 100."

    def get_page_size(self, request: Request) -> int:
        limit = request.query_params.get("limit", str(self.page_size))
        if len(limit) > 3 or not (limit.isascii() and limit.isdigit()) or not 1 <= int(limit) <= self.max_page_size:
            raise ValidationError({"limit": [_("A whole number from 1 to 100.")]})
        return int(limit)

    def paginate_rows(self, find: Callable[[int, bool, int], list[Row]], request: Request) -> list[Row]:
        """The rows of the page that is asked for; `find(bound, is_backward, most)` finds them.

        It returns the `most` rows that are next to the id `bound` and below it or, backward, above it, the nearest
        first. Each begins with its id.
        """
        limit, self.base_url = self.get_page_size(request), request.build_absolute_uri()
        cursor = self.decode_cursor(request)
        is_backward = cursor is not None and cursor.reverse
        bound = ENDS[not is_backward] if cursor is None else int(cursor.position or ENDS[not is_backward])
        found = find(bound, is_backward, limit + 1)
        page, is_more = found[:limit], len(found) > limit
        first, last = (page[0][0], page[-1][0]) if page else (bound, bound)
        if is_backward:
            page.reverse()
            first, last = last, first
        is_within = bound not in ENDS
        self.next = self._link(last, is_backward=False) if (is_within if is_backward else is_more) else None
        self.previous = self._link(first, is_backward=True) if (is_more if is_backward else is_within) else None
        return page

    def get_next_link(self) -> str | None:
        return self.next

    def get_previous_link(self) -> str | None:
        return self.previous

    def _link(self, bound: int, *, is_backward: bool) -> str:
        signed = SIGNER.sign_object([0, is_backward, str(bound)])
        return replace_query_param(str(self.base_url), self.cursor_query_param, signed)

    def decode_cursor(self, request: Request) -> Cursor | None:
        if (encoded := request.query_params.get("cursor")) is None:
            return None
        try:
            return Cursor(*SIGNER.unsign_object(encoded))
        except (signing.BadSignature, ValueError):
            raise ValidationError(
                {"cursor": [_("Take the cursor from a page's `next` or `previous`, unaltered.")]}
            ) from None

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        cursor, limit = super().get_schema_operation_parameters(view)
        limit["schema"] = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return [limit, cursor]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        example = "https://refer.example.com/api/referrals/42/?cursor=WzAsZmFsc2UsIjI1Il0%3A2hT0"
        properties = {
            "next": link | {"description": "The page after this one.", "example": example},
            "previous": link | {"description": "The page before this one.", "example": None},
            "results": schema,
        }
        return {"type": "object", "required": list(properties), "properties": properties}
