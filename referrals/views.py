"""The calls under `/api`."""

from functools import cache, partial
from typing import Any, TypeVar

from django.http import Http404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import action
from rest_framework.exceptions import MethodNotAllowed, NotFound, PermissionDenied
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import GenericViewSet

from config.api import replica
from config.api.compiled import Row
from config.api.pagination import NewestFirst
from config.api.schema import refuses
from referrals import figures, services
from referrals.errors import (
    ActiveCodeExists,
    AlreadyReferred,
    ClaimWindowClosed,
    CodeTaken,
    InvalidCode,
    NoActiveCode,
    PrefetchRefused,
)
from referrals.models import Referral, ReferralCode, own_code_of, page_of, summary_of
from referrals.permissions import SelfOrReferralStaff
from referrals.renderers import FormatInQuery, PngQrRenderer, SvgQrRenderer
from referrals.serializers import (
    AccountSerializer,
    ClaimSerializer,
    CodeSerializer,
    FoundCodeSerializer,
    MailCodeSerializer,
    MailedSerializer,
    NewCodeSerializer,
    OwnerQuerySerializer,
    PublicCodeSerializer,
    ReferralSerializer,
    RegisterSerializer,
    SeriesQuerySerializer,
    SummarySerializer,
)
from users import limits
from users.errors import EmailTaken, LimitReached, UsernameTaken
from users.models import User
from users.tokens import SignedInRequest

T = TypeVar("T", bound=Serializer[Any])

EMAIL = OpenApiParameter(
    "email", OpenApiTypes.EMAIL, description="Of the referrer whose code is meant; left out, it is your own."
)

CODE = OpenApiParameter(
    "code", OpenApiTypes.STR, OpenApiParameter.PATH, description="In any case, with or without its dashes."
)

FORMAT = OpenApiParameter(
    "format",
    enum=["svg", "png"],
    description="Of the picture; left out, the `Accept` header decides, and `svg` where that takes both.",
)

SERIES = [
    OpenApiParameter("interval", enum=["day", "week"], description="Of the series; left out, there is none."),
    OpenApiParameter(
        "from", OpenApiTypes.DATE, description="Its first day; 29 days or 11 weeks before `to` if left out."
    ),
    OpenApiParameter("to", OpenApiTypes.DATE, description="Its last day; today if left out."),
    OpenApiParameter("tz", description="The time zone that days are of, like `Europe/Berlin`; UTC if left out."),
]

ID = OpenApiParameter(
    "id", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH, description="Your own, as `/auth/users/me/` has it."
)


@cache
def kept(serializer_class: type[T]) -> T:
    """One for all requests, of a kind that is given all with each call: to make one takes longer than to use it."""
    return serializer_class()


class ReferralCodeViewSet(GenericViewSet[ReferralCode]):
    """The code of who is signed in. There is one at a time, so that its path needs no id."""

    tag = "Referral code"
    serializer_class = CodeSerializer
    lookup_field = "code"
    lookup_value_regex = "[^/]+"

    @extend_schema(parameters=[EMAIL], responses=FoundCodeSerializer)
    @refuses(NoActiveCode, LimitReached)
    def current(self, request: SignedInRequest) -> Response:
        """Show a code

        Your own active code or, with `email`, that of the referrer with this address, for you to register with or to
        hand on. The answer is the same 404 for an unknown address, no code, an expired one, and someone who does not
        want to be found.
        """
        email = kept(OwnerQuerySerializer).run_validation(request.query_params).get("email")
        if email is None or email == request.user.email:
            code = own_code_of(request.user)
        else:
            code = services.look_up(email, by=request.user)
        if code is None:
            raise NoActiveCode
        return Response(kept(FoundCodeSerializer).to_representation((code, request.user)))

    @extend_schema(request=NewCodeSerializer, responses={201: CodeSerializer})
    @refuses(ActiveCodeExists, CodeTaken)
    def create(self, request: SignedInRequest) -> Response:
        """Create my code

        One at a time: while a code is active there is no other. An expired one is no hindrance. Without `code` one is
        made up. A code that somebody else had within the last year is taken.
        """
        new = self._valid(NewCodeSerializer, request.data)
        code = services.issue_code(owner=request.user, expires_at=new["expiration_date"], wish=new.get("code"))
        return Response(CodeSerializer(code).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    @refuses(NoActiveCode)
    def retire(self, request: SignedInRequest) -> Response:
        """Delete my code

        The active code ends now. Who registered with it stays your referral.
        """
        services.retire_code(request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(methods=["GET"], operation_id="mail_a_code_by_get", parameters=[EMAIL], responses=MailedSerializer)
    @extend_schema(methods=["POST"], request=MailCodeSerializer, responses=MailedSerializer)
    @action(["get", "post"], detail=False)
    @refuses(PrefetchRefused, NoActiveCode, LimitReached)
    def email(self, request: SignedInRequest) -> Response:
        """Mail a code

        Your own active code to your own address or, with `email`, the code of the referrer with this address to that
        very address, with a note that says who asked. The answer is the same whether or not there is such a referrer
        or code; 404 `no_active_code` is about your own only.
        """
        if request.method == "HEAD":
            raise MethodNotAllowed("HEAD")
        if "prefetch" in request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", ""):
            raise PrefetchRefused
        data = request.query_params if request.method == "GET" else request.data
        email = self._valid(MailCodeSerializer, data).get("email")
        if email is None or email == request.user.email:
            services.mail_own_code(request.user)
        else:
            services.mail_code_of(email, asked_by=request.user)
        return Response(MailedSerializer({"detail": _("The e-mail is on its way.")}).data)

    @extend_schema(
        parameters=[FORMAT],
        responses={(200, "image/svg+xml"): OpenApiTypes.BINARY, (200, "image/png"): OpenApiTypes.BINARY},
    )
    @action(detail=False, renderer_classes=[SvgQrRenderer, PngQrRenderer], content_negotiation_class=FormatInQuery)
    @refuses(NoActiveCode)
    def qr(self, request: SignedInRequest) -> Response:
        """Draw my QR code

        The `share_url` of your own active code as a picture, for paper and for screens: SVG, or PNG.
        """
        code = own_code_of(request.user)
        if code is None:
            raise NoActiveCode
        return Response(code.share_url)

    @extend_schema(parameters=[CODE], responses=PublicCodeSerializer, auth=[])
    @refuses(NoActiveCode, LimitReached)
    def retrieve(self, request: Request, code: str) -> Response:
        """Check a code

        Whether a code may be used to register, for anyone who has it, typed in any case, with or without dashes. The
        answer is the same 404 for an unknown, an expired and a deleted one.
        """
        found = services.check_code(code, to_show=True, good_ones_count=True)
        if found is None:
            raise NoActiveCode
        return Response(kept(PublicCodeSerializer).to_representation(found))

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [] if self.detail else super().get_authenticators()

    def get_permissions(self) -> Any:
        return [AllowAny()] if self.detail else super().get_permissions()

    def _valid(self, serializer_class: type[Serializer[Any]], data: Any) -> dict[str, Any]:
        serializer = serializer_class(data=data)
        serializer.is_valid(raise_exception=True)
        valid: dict[str, Any] = serializer.validated_data
        return valid


class RegisterViewSet(GenericViewSet[User]):
    """Signing up with a code."""

    tag = "Referrals"
    authentication_classes = ()
    permission_classes = (AllowAny,)
    serializer_class = RegisterSerializer

    @extend_schema(responses={201: AccountSerializer}, auth=[])
    @refuses(EmailTaken, UsernameTaken, InvalidCode, LimitReached)
    def create(self, request: Request) -> Response:
        """Register with a code

        Makes an account that is a referral of whoever the code belongs to: both, or neither. The answer is the same
        `invalid_code` for an unknown, an expired and a deleted code.
        """
        limits.count_sign_up()
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        serializer.save()
        return Response(serializer.data, status=status.HTTP_201_CREATED)


class ReferralViewSet(GenericViewSet[Referral]):
    """The referrals of the user whose id is in the path."""

    tag = "Referrals"
    permission_classes = (IsAuthenticated, SelfOrReferralStaff)
    lookup_value_regex = "0|[1-9][0-9]{0,18}"

    @extend_schema(parameters=[ID], responses=ReferralSerializer(many=True))
    @refuses(PermissionDenied, NotFound)
    def retrieve(self, request: SignedInRequest, pk: str) -> Response:
        """List referrals

        Who registered with this user's codes, the newest first. You see your own; staff who may view referrals see
        anybody's. Any other id is answered with the same 403, whether it exists or not.
        """
        referrer, paginator = self._referrer(pk), NewestFirst()

        def page_in(database: str) -> list[Row]:
            return paginator.paginate_rows(partial(page_of, referrer, using=database), request)

        page = replica.read(page_in, by=request.user.pk)
        return paginator.get_paginated_response(list(map(kept(ReferralSerializer).to_representation, page)))

    @extend_schema(parameters=[ID, *SERIES], responses=SummarySerializer)
    @action(detail=True)
    @refuses(PermissionDenied, NotFound)
    def summary(self, request: SignedInRequest, pk: str) -> Response:
        """Sum referrals up

        How many registered with this user's codes, in all, lately, and by code; the same people see it who see the
        list. With `interval` comes a series of clicks and registrations, with a point for each day, or each week from
        Monday on, in the time zone of `tz`: 366 points at most, those with nothing in them too.
        """
        referrer = self._referrer(pk)
        query = SeriesQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)

        def ask(database: str) -> dict[str, Any]:
            asked = query.validated_data
            series = figures.series(referrer, **asked, using=database) if asked else []
            return summary_of(referrer, using=database) | {"series": series}

        return Response(SummarySerializer(replica.read(ask, by=request.user.pk)).data)

    @extend_schema(request=ClaimSerializer, responses={201: AccountSerializer})
    @action(["post"], detail=False, permission_classes=[IsAuthenticated])
    @refuses(AlreadyReferred, ClaimWindowClosed, InvalidCode, LimitReached)
    def claim(self, request: SignedInRequest) -> Response:
        """Name who brought me

        For who signed up without a code, once, within the time that the service allows after that, which is three
        days unless it was set otherwise. The answer is the same `invalid_code` for an unknown, an expired and a deleted
        code, for one's own, and for one of somebody who registered later.
        """
        serializer = ClaimSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        services.claim(request.user, **serializer.validated_data)
        return Response(AccountSerializer(request.user).data, status=status.HTTP_201_CREATED)

    def _referrer(self, pk: str) -> int:
        """The id in the path. Raises Http404 for staff who ask for one that does not exist."""
        if str(self.request.user.pk) != pk and not User.objects.filter(pk=pk).exists():
            raise Http404
        return int(pk)
