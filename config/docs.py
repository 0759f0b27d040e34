"""How the schema is served."""

from types import SimpleNamespace
from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response


class FormatOrAccept(DefaultContentNegotiation):
    """Here, and here alone, `?format=json` does as well as an `Accept` header: a browser can be sent to it."""

    settings: Any = SimpleNamespace(URL_FORMAT_OVERRIDE="format")


class SchemaView(SpectacularAPIView):
    """The one schema. The original's `lang` and `version` would go into a cache that never ends, and into a header."""

    content_negotiation_class = FormatOrAccept

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._get_schema_response(request)

    def _get_version_parameter(self, request: Request) -> None:
        return None
