"""The whole map: that of each app, the documentation of the API, the pages around it."""

from django.conf import settings
from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView, TemplateView

import referrals.urls
import users.urls
from config.docs import RedocView, SchemaView, SwaggerView
from config.health import healthz, readyz
from config.metrics import metrics

urlpatterns = [  # tried one by one: what is asked for most comes first, and no level of its own is made for an app
    *referrals.urls.urlpatterns,
    *users.urls.urlpatterns,
    path("", TemplateView.as_view(template_name="pages/index.html"), name="index"),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("redoc/", RedocView.as_view(), name="redoc"),
    path("swagger/", SwaggerView.as_view(), name="swagger"),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}pages/icon.svg")),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]

handler400 = "config.api.problems.bad_request"
handler403 = "config.api.problems.permission_denied"
handler404 = "config.api.problems.not_found"
handler500 = "config.api.problems.server_error"
