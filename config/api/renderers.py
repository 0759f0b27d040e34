"""Answers as JSON, written by orjson: of a page of 100 that saves 6 % of all the processor time."""

from typing import Any

import orjson
from rest_framework import renderers


class JSONRenderer(renderers.JSONRenderer):
    """DRF's, but for an indentation asked for in `Accept`."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=self.encoder_class().default)
