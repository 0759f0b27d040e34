"""What a WSGI server runs: Django, behind two small fixes for what clients send ahead of a body."""

import codecs
import os
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.template.loader import get_template
from django.urls import resolve
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class Request(WSGIRequest):
    """A request whose URL is read as UTF-8, and whose Content-Type, however odd, breaks nothing.

    Django reads the query with the body's charset, and fails before any middleware where that is no charset for text.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except (LookupError, ValueError):
            meta["CONTENT_TYPE"] = self.content_type = ""
            self.content_params = {}


def load_what_errors_need() -> None:
    """Load now what Django would at its first error: there may be no file descriptors left to read it with."""
    codecs.lookup("unicode_escape")  # of its log line
    resolve("/")
    get_template("error.html").render()


django = get_wsgi_application()
django.request_class = Request
load_what_errors_need()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Hand a request to Django; a chunked body, which Django would take for an empty one, is given its length.

    One byte past the limit is read and no more, so that Django sees that the body is too large.
    """
    if not environ.get("CONTENT_LENGTH") and environ.get("HTTP_TRANSFER_ENCODING"):
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    return django(environ, start_response)
