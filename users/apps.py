from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin import apps as admin
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import get_connection
from django.utils.translation import gettext_lazy as _


class UsersConfig(AppConfig):
    name = "users"
    verbose_name = _("Users")

    def ready(self) -> None:
        """Have the metrics asked for; refuse to start without what the provider of e-mail needs, rather than later."""
        from users import metrics  # noqa: F401 (is asked from then on)

        if settings.EMAIL_PROVIDER:
            try:
                get_connection(settings.EMAIL_DELIVERY_BACKEND)
            except ImproperlyConfigured as error:
                raise SystemExit(
                    f"The service does not start: settings are wrong.\n  EMAIL_PROVIDER: {' '.join(str(error).split())}"
                ) from None


class AdminConfig(admin.AdminConfig):
    default = False
    default_site = "users.site.StaffSite"
