"""The service's addresses, and one that fails."""

import json
import logging

from django.db import IntegrityError
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from config import urls
from config.urls import handler400, handler403, handler404, handler500  # noqa: F401 (Django looks for them here)
from users.models import User


@csrf_exempt
def broken(request, uid, token):
    body = json.loads(request.body)
    logging.getLogger("users").warning("about to fail for %s\r\n2026-01-01 ERROR forged", body["email"])
    try:
        for _twice in range(2):
            User.objects.create(email=body["email"], username=body["email"][:5])
    except IntegrityError as error:
        raise RuntimeError(f"cannot store {body} for {request.headers['Authorization']} at {request.path}") from error


urlpatterns = [path("account/broken/<uid>/<token>/", broken), *urls.urlpatterns]
