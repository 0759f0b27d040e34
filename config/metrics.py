"""`GET /metrics`, for Prometheus and nobody else."""

from secrets import compare_digest

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from config.api.metrics import exposition


def metrics(request: HttpRequest) -> HttpResponse:
    """200 with all metrics for who brings `METRICS_TOKEN`, 401 for others; 404 where it is not set."""
    if not settings.METRICS_TOKEN:
        raise Http404
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode()):
        return HttpResponse(
            "A bearer token is needed.\n", "text/plain; charset=utf-8", 401, headers={"WWW-Authenticate": "Bearer"}
        )
    return HttpResponse(exposition(), CONTENT_TYPE_PLAIN_0_0_4, headers={"Cache-Control": "no-store"})
