"""Every path under `/auth`, each by itself: what is not listed does not exist."""

from django.urls import path
from rest_framework.permissions import AllowAny

from users.pages import ActivationPage, EmailChangePage, KeepEmailPage, PasswordResetPage
from users.views import (
    AccountViewSet,
    LogInView,
    LogOutEverywhereView,
    LogOutView,
    ProvidersView,
    ProviderView,
    RefreshView,
    VerifyView,
)

# A stale token that a client sends along must not keep anyone from a call that needs none.
OPEN: dict[str, list[type]] = {"authentication_classes": [], "permission_classes": [AllowAny]}

account = AccountViewSet.as_view

urlpatterns = [  # tried one by one: what is asked for most comes first
    path("auth/jwt/create/", LogInView.as_view()),
    path("auth/jwt/refresh/", RefreshView.as_view()),
    path("auth/jwt/verify/", VerifyView.as_view()),
    path("auth/jwt/logout/", LogOutView.as_view()),
    path("auth/jwt/logout_all/", LogOutEverywhereView.as_view()),
    path("auth/users/", account({"post": "create"}, **OPEN)),
    path("auth/users/me/", account({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}), name="me"),
    path("auth/users/me/export/", account({"get": "export"})),
    path("auth/users/activation/", account({"post": "activation"}, **OPEN)),
    path("auth/users/resend_activation/", account({"post": "resend_activation"}, **OPEN)),
    path("auth/users/set_password/", account({"post": "set_password"})),
    path("auth/users/reset_password/", account({"post": "reset_password"}, **OPEN)),
    path("auth/users/reset_password_confirm/", account({"post": "reset_password_confirm"}, **OPEN)),
    path("auth/users/set_email/", account({"post": "set_email"})),
    path("auth/users/set_email_confirm/", account({"post": "set_email_confirm"}, **OPEN)),
    path("auth/users/keep_email/", account({"post": "keep_email"}, **OPEN)),
    path("auth/o/", ProvidersView.as_view()),
    path("auth/o/<slug:provider>/", ProviderView.as_view()),
    path("account/activate/<uid>/<token>/", ActivationPage.as_view()),
    path("account/reset-password/<uid>/<token>/", PasswordResetPage.as_view()),
    path("account/change-email/<uid>/<token>/", EmailChangePage.as_view()),
    path("account/keep-email/<uid>/<token>/", KeepEmailPage.as_view()),
]
