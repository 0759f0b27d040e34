"""Views that give the same answer as the list of referrals, and each do a little more of what it takes."""

from functools import partial

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bench.stages.raw import ANSWER
from config.api.pagination import NewestFirst
from referrals.models import page_of
from referrals.views import ReferralViewSet


def constant(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(ANSWER, content_type="application/json")


class SignedIn(APIView):
    def get(self, request: Request) -> HttpResponse:
        return constant(request)


class WithRows(ReferralViewSet):
    def retrieve(self, request: Request, pk: str) -> Response:
        NewestFirst().paginate_rows(partial(page_of, self._referrer(pk)), request)
        return constant(request)  # type: ignore[return-value]  # Django's response, which DRF takes too


urlpatterns = [
    path("api/stage/constant/", constant),
    path("api/stage/signed-in/", SignedIn.as_view()),
    path("api/stage/rows/<str:pk>/", WithRows.as_view({"get": "retrieve"})),
    path("", include("config.urls")),
]
