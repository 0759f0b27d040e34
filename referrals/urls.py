from django.urls import path
from rest_framework.routers import Route, SimpleRouter

from referrals.pages import current_code, share_page
from referrals.views import ReferralCodeViewSet, ReferralViewSet, RegisterViewSet


class Router(SimpleRouter):
    """Knows resources of which there is one: `current` answers GET, and `retire` DELETE, on the path without an id."""

    routes = [
        route._replace(mapping=route.mapping | {"get": "current", "delete": "retire"})
        if isinstance(route, Route) and not route.detail
        else route
        for route in SimpleRouter.routes
    ]


router = Router()
router.register("api/referral-code", ReferralCodeViewSet, basename="referral-code")
router.register("api/register-with-referral", RegisterViewSet, basename="register-with-referral")
router.register("api/referrals", ReferralViewSet, basename="referrals")

urlpatterns = [
    *router.urls,
    path("r/current", current_code, name="current-code"),
    path("r/<str:code>", share_page, name="share"),
]
