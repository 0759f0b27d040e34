"""The providers with which people can sign in, as social-auth backends: PKCE for all, and a word on the address.

`/auth/o/{name}/` is where each is; `settings.SOCIAL_PROVIDERS` says which are switched on.
"""

from typing import Any

from django.conf import settings
from social_core.backends.github import GithubOAuth2
from social_core.backends.google_openidconnect import GoogleOpenIdConnect
from social_core.backends.oauth import BaseOAuth2PKCE
from social_core.backends.open_id_connect import OpenIdConnectAuth
from social_core.backends.vk import VKIDOAuth2
from social_core.backends.yandex import YandexOAuth2


class Google(GoogleOpenIdConnect):
    name, title = "google", "Google"
    DEFAULT_USE_PKCE = True

    def vouches_for_email(self, response: dict[str, Any]) -> bool:
        return response.get("email_verified") is True


class GitHub(GithubOAuth2, BaseOAuth2PKCE):
    name, title = "github", "GitHub"
    DEFAULT_SCOPE = ["user:email"]

    def vouches_for_email(self, response: dict[str, Any]) -> bool:
        emails = [found for found in response.get("emails") or [] if isinstance(found, dict)]
        return any(found.get("email") == response.get("email") and found.get("verified") is True for found in emails)


class Yandex(YandexOAuth2, BaseOAuth2PKCE):
    name, title = "yandex", "Yandex"

    def vouches_for_email(self, response: dict[str, Any]) -> bool:
        """Yandex lets people name an address of another host and does not say whether it is proved."""
        return False


class VK(VKIDOAuth2):
    name, title = "vk", "VK"

    def vouches_for_email(self, response: dict[str, Any]) -> bool:
        return False


class Oidc(OpenIdConnectAuth):
    """A company's own provider, found by its issuer."""

    name = "oidc"
    DEFAULT_USE_PKCE = True

    @classmethod
    def get_title(cls, strategy: Any) -> str:
        return settings.OIDC_NAME

    def vouches_for_email(self, response: dict[str, Any]) -> bool:
        return (response.get("email_verified", (self.id_token or {}).get("email_verified"))) is True
