"""Lists: pages of at most 100 behind a signed cursor, at the same cost however deep."""

from typing import Any

from django.core import signing
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

SIGNER = signing.Signer(salt="config.api.pagination")


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

    def encode_cursor(self, cursor: Cursor) -> str:
        signed = SIGNER.sign_object([cursor.offset, cursor.reverse, cursor.position])
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
