"""Pictures in place of JSON."""

from io import BytesIO
from typing import Any

import segno
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.serializers import ChoiceField


class QrRenderer(BaseRenderer):
    """A QR code of a text, dark on light whatever lies behind it, with the four modules of margin that scanners need.

    Fifteen percent of it may be unreadable: ISO/IEC 18004, error correction M.
    """

    charset = None
    render_style = "binary"
    options: dict[str, Any]

    def render(self, data: str, *args: Any, **kwargs: Any) -> bytes:
        picture = BytesIO()
        segno.make_qr(data, error="m").save(picture, kind=self.format, border=4, light="white", **self.options)
        return picture.getvalue()


class SvgQrRenderer(QrRenderer):
    media_type, format = "image/svg+xml", "svg"
    options = {"scale": 8, "unit": "px", "xmldecl": False, "svgclass": None, "lineclass": None}  # a unit adds a viewBox


class PngQrRenderer(QrRenderer):
    media_type, format = "image/png", "png"
    options = {"scale": 16}  # some 600 pixels: sharp on paper


class FormatInQuery(DefaultContentNegotiation):
    """`?format=` says which of the view's renderers is meant; where it says nothing, `Accept` does."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        if "format" in request.query_params:
            formats = ChoiceField([renderer.format for renderer in renderers])
            try:
                wanted = formats.run_validation(request.query_params["format"])
            except ValidationError as error:
                raise ValidationError({"format": error.detail}) from None
            renderers = [renderer for renderer in renderers if renderer.format == wanted]
        return super().select_renderer(request, renderers, format_suffix)
