"""How the schema and its pages are served."""

from types import SimpleNamespace
from typing import Any

from csp.constants import NONCE
from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView
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


@method_decorator(csp_update({"img-src": ["data:"]}), name="dispatch")
class SwaggerView(SpectacularSwaggerSplitView):
    """Swagger UI, whose bundle has its icons in itself."""


# The bundle writes one style before it can know a nonce: first nothing, then that of its scroll bars. A browser names
# the hashes in its complaint when another version comes with others.
SCROLL_BARS = [
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='",
]


@method_decorator(
    csp_update({"img-src": ["data:"], "style-src": [NONCE, *SCROLL_BARS], "worker-src": ["blob:"]}), name="dispatch"
)
class RedocView(SpectacularRedocView):
    """ReDoc, whose bundle writes its styles with the nonce that the page gives it, and searches in a worker."""
