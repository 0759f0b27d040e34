from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.utils.translation import gettext_lazy as _


class UsersConfig(AppConfig):
    name = "users"
    verbose_name = _("Users")

    def ready(self) -> None:
        from users import metrics  # noqa: F401 (has itself asked)


class AdminConfig(admin.AdminConfig):
    default = False
    default_site = "users.site.StaffSite"
