"""The calls under `/auth`: djoser's accounts and simplejwt's tokens, with the rules of this service."""

from typing import Any, cast

from django.conf import settings
from djoser.conf import settings as djoser
from djoser.social.views import ProviderAuthView
from djoser.views import UserViewSet
from drf_spectacular.helpers import lazy_serializer
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework_simplejwt import views as simplejwt

from config.api.schema import refuses
from users import audit, limits, mail, services
from users.errors import (
    AccountExists,
    EmailTaken,
    FreshLoginRequired,
    IdentityInUse,
    InvalidLink,
    InvalidRedirectUri,
    InvalidToken,
    LimitReached,
    NoActiveAccount,
    NoEmailFromProvider,
    ProviderUnavailable,
    SignInFailed,
    StaleLogin,
    UnknownProvider,
    UsernameTaken,
)
from users.models import AuditEvent, User
from users.serializers import (
    AccountChangeSerializer,
    AddressSerializer,
    AuthorizationUrlSerializer,
    KeepEmailSerializer,
    PairSerializer,
    ProviderReturnSerializer,
    ProvidersSerializer,
    SetEmailConfirmSerializer,
    SetEmailSerializer,
)
from users.social import Strategy, backend_of, begin, complete
from users.tokens import AccessToken, BearerAuthentication, RefreshToken, SignedInRequest

Account = lazy_serializer(settings.DJOSER["SERIALIZERS"]["user"])


class AccountViewSet(UserViewSet):
    """djoser's account calls. What is not routed in `urls.py` does not exist, its list of all users for one."""

    tag = "Accounts"

    def get_object(self) -> User:
        user: User = self.request.user
        return user

    @extend_schema(responses={201: Account()})
    @refuses(EmailTaken, UsernameTaken, LimitReached)
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Sign up

        Makes an account, and sends a link to its address that proves it. With `referral_code` the new account becomes
        a referral of whoever the code belongs to, in the same transaction.
        """
        limits.count_sign_up()
        return super().create(request, *args, **kwargs)

    def perform_create(self, serializer: BaseSerializer[User], *args: Any, **kwargs: Any) -> None:
        serializer.save()

    def retrieve(self, request: SignedInRequest, *args: Any, **kwargs: Any) -> Response:
        """Show my account

        Who is signed in, and who referred them.
        """
        return super().retrieve(request, *args, **kwargs)

    @extend_schema(request=AccountChangeSerializer)
    @refuses(UsernameTaken)
    def partial_update(self, request: SignedInRequest, *args: Any, **kwargs: Any) -> Response:
        """Change my account

        Sets what is sent and leaves the rest. Others who know your address can look up your referral code unless
        `discoverable_by_email` is false. The address itself is changed at `/auth/users/set_email/`.
        """
        serializer = AccountChangeSerializer(data=request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        services.change_account(request.user, **serializer.validated_data)
        return Response(self.get_serializer(request.user).data)

    @refuses(FreshLoginRequired, LimitReached)
    def destroy(self, request: SignedInRequest, *args: Any, **kwargs: Any) -> Response:
        """Close my account

        Anonymises the account for good: address, username and tokens go, the referral code ends. What others have
        through it, such as who referred them, stays without a name. Takes the password, or a sign-in of the last 5
        minutes from who has none.
        """
        return super().destroy(request, *args, **kwargs)

    def perform_destroy(self, instance: User) -> None:
        services.close_account(instance)

    @extend_schema(responses={200: djoser.SERIALIZERS.export})
    @action(["get"], detail=False)
    @refuses(LimitReached)
    def export(self, request: SignedInRequest) -> Response:
        """Export my data

        All that the service knows of you, and nothing of anybody else.
        """
        limits.count_export(request.user)
        data = djoser.SERIALIZERS.export(request.user).data
        audit.record(AuditEvent.Kind.DATA_EXPORTED, request.user)
        return Response(data, headers={"Content-Disposition": 'attachment; filename="my-data.json"'})

    @extend_schema(responses={204: None})
    @refuses(InvalidLink)
    def activation(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Confirm my address

        Takes `uid` and `token` out of the link that was mailed at sign-up. The link works once, for 24 hours.
        """
        return self._save(self.get_serializer(data=request.data))

    @extend_schema(responses={204: None})
    @refuses(LimitReached)
    def resend_activation(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Mail the link again

        Sends the link that proves the address, if there is an account with it that still needs one. The answer is the
        same if there is none.
        """
        mail.queue_for_whoever_has(self._address(request), mail.send_activation)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses={204: None})
    @refuses(FreshLoginRequired, LimitReached)
    def set_password(self, request: SignedInRequest, *args: Any, **kwargs: Any) -> Response:
        """Change my password

        Every token and every login of the account ends; the address gets a notice. Takes the present password, or a
        sign-in of the last 5 minutes from who has none and sets their first.
        """
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        limits.count_notice(request.user)
        services.set_password(request.user, serializer.validated_data["new_password"])
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses={204: None})
    @refuses(LimitReached)
    def reset_password(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Forgot my password

        Mails a link by which a new password can be set, good for one hour. The answer is the same if there is no such
        account.
        """
        mail.queue_for_whoever_has(self._address(request), mail.send_password_reset)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses={204: None})
    @refuses(InvalidLink)
    def reset_password_confirm(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Set a new password by link

        Takes `uid` and `token` out of the mailed link. Every token and every login of the account ends. Sign in
        afterwards: the link itself signs nobody in.
        """
        return self._save(self.get_serializer(data=request.data))

    @extend_schema(request=SetEmailSerializer, responses={204: None})
    @refuses(FreshLoginRequired, LimitReached)
    def set_email(self, request: SignedInRequest, *args: Any, **kwargs: Any) -> Response:
        """Change my address

        Mails a link to the new address; the change takes effect when the link is used. Until then the old address
        stays. It gets a notice with a link that undoes the change, for 7 days, whether or not it took effect. Takes
        the password, or a sign-in of the last 5 minutes from who has none.
        """
        serializer = SetEmailSerializer(data=request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        new_email = serializer.validated_data["new_email"]
        limits.count_mail(to=new_email)
        limits.count_notice(request.user)
        services.ask_for_email_change(request.user, new_email)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=SetEmailConfirmSerializer, responses={204: None})
    @refuses(InvalidLink, EmailTaken)
    def set_email_confirm(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Confirm my new address

        Takes `uid` and `token` out of the link that was mailed to the new address, which becomes the account's.
        """
        return self._save(SetEmailConfirmSerializer(data=request.data))

    @extend_schema(request=KeepEmailSerializer, responses={204: None})
    @refuses(InvalidLink, EmailTaken)
    def keep_email(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Keep my old address

        Takes `uid` and `token` out of the link in the notice to the old address, which becomes, or stays, the
        account's. Every token and every login of the account ends, and so does its password: a link to set a new one
        is mailed to that address. The link works once, for 7 days.
        """
        return self._save(KeepEmailSerializer(data=request.data))

    def _address(self, request: Request) -> str:
        """Where a mail is asked to go, counted whether there is an account or not."""
        serializer = AddressSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        email: str = serializer.validated_data["email"]
        limits.count_mail(to=email)
        return email

    def _save(self, serializer: BaseSerializer[Any]) -> Response:
        serializer.is_valid(raise_exception=True)
        serializer.save()
        return Response(status=status.HTTP_204_NO_CONTENT)


class LogInView(simplejwt.TokenObtainPairView):
    tag = "Tokens"

    @extend_schema(responses=PairSerializer, auth=[])
    @refuses(NoActiveAccount, LimitReached)
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Sign in

        Gives a pair of tokens for an address, or a username, and its password. Send `access` as
        `Authorization: Bearer …` with other calls. Every failure gets the same answer.
        """
        return super().post(request, *args, **kwargs)


class RefreshView(simplejwt.TokenRefreshView):
    tag = "Tokens"

    @extend_schema(responses=PairSerializer, auth=[])
    @refuses(InvalidToken)
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Get a new pair

        Trades a refresh token for a new pair. Each refresh token works once. One that is shown again later than ten
        seconds after its use is in two hands: all that came of that sign-in ends.
        """
        return super().post(request, *args, **kwargs)


GOOD_TOKEN = OpenApiResponse({"type": "object"}, "The token is good.", [OpenApiExample("Good", value={})])


class VerifyView(simplejwt.TokenVerifyView):
    tag = "Tokens"

    @extend_schema(responses={200: GOOD_TOKEN}, auth=[])
    @refuses(InvalidToken)
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Check an access token

        Answers 200 for an access token that the API would accept now, 401 for anything else, refresh tokens included.
        """
        return super().post(request, *args, **kwargs)


class LogOutView(simplejwt.TokenBlacklistView):
    tag = "Tokens"

    @extend_schema(responses={204: None}, auth=[])
    @refuses(InvalidToken)
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Sign out

        Ends the sign-in that the refresh token belongs to. An access token of it runs out by itself, within 15 minutes.
        """
        super().post(request, *args, **kwargs)
        return Response(status=status.HTTP_204_NO_CONTENT)


class LogOutEverywhereView(APIView):
    tag = "Tokens"

    @extend_schema(request=None, responses={204: None})
    def post(self, request: SignedInRequest) -> Response:
        """Sign out everywhere

        Ends every sign-in of the account at once, on all devices, and every token of theirs.
        """
        services.log_out_everywhere(request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


PROVIDER = OpenApiParameter("provider", str, OpenApiParameter.PATH, description="Its name, from the list of providers.")


class ProviderView(ProviderAuthView):
    """djoser's social login, with the state kept for JSON clients too, and refusals instead of texts of providers."""

    tag = "Providers"
    authentication_classes = (BearerAuthentication,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """A provider that is not there is not there by any method."""
        super().initial(request, *args, **kwargs)
        backend_of(kwargs["provider"], Strategy(request))

    @extend_schema(
        parameters=[PROVIDER, djoser.SERIALIZERS.provider_start],
        responses={200: AuthorizationUrlSerializer},
        auth=[{}, {"bearer": []}],
    )
    @refuses(InvalidRedirectUri, StaleLogin, UnknownProvider, LimitReached, ProviderUnavailable)
    def get(self, request: Request, provider: str) -> Response:
        """Leave for a provider

        Gives the address of the provider's page, to which you send the person's browser. `redirect_uri` is where the
        provider sends them back; it has to be one of those that are allowed, to the letter. A `referral_code` is
        checked now and kept on the server until they are back. Keep the session cookie: the way back needs it. Signed
        in, this adds the provider to your account, and takes a login of the last five minutes.
        """
        limits.count_sign_up()
        if request.user.is_authenticated and not cast(AccessToken, request.auth).is_fresh:
            raise StaleLogin
        serializer = djoser.SERIALIZERS.provider_start(data=request.query_params)
        serializer.is_valid(raise_exception=True)
        return Response({"authorization_url": begin(request, provider, **serializer.validated_data)})

    @extend_schema(
        parameters=[PROVIDER],
        request=ProviderReturnSerializer,
        responses={201: djoser.SERIALIZERS.provider_auth},
        auth=[{}, {"bearer": []}],
    )
    @refuses(
        SignInFailed,
        NoEmailFromProvider,
        NoActiveAccount,
        UnknownProvider,
        AccountExists,
        IdentityInUse,
        ProviderUnavailable,
    )
    def post(self, request: Request, provider: str) -> Response:
        """Come back from a provider

        Takes `code` and `state` out of the address to which the provider sent the person back, with the session cookie
        of the way there. Signs in who is known by this identity, and makes an account for who is not. An e-mail
        address that has an account already is no key to it: sign in there, then add the provider.
        """
        serializer = ProviderReturnSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        user = complete(request, provider, serializer.validated_data)
        audit.record(AuditEvent.Kind.SIGNED_IN, user, provider=provider)
        pair = RefreshToken.for_user(user).pair
        return Response(djoser.SERIALIZERS.provider_auth(pair | {"user": user}).data, status=status.HTTP_201_CREATED)


class ProvidersView(APIView):
    tag = "Providers"
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(responses=ProvidersSerializer, auth=[])
    def get(self, request: Request) -> Response:
        """List the providers

        Those that are switched on, for a client to draw its buttons.
        """
        strategy = Strategy(request)
        backends = [backend_of(name, strategy) for name in settings.SOCIAL_PROVIDERS]
        return Response({"providers": [{"name": it.name, "title": it.get_title(strategy)} for it in backends]})
