"""The shapes of `/auth`. Writers are plain serializers: what a constraint refuses is the services' to say."""

from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.utils.translation import gettext_lazy as _
from djoser.serializers import CurrentPasswordSerializer as DjoserCurrentPasswordSerializer
from djoser.utils import decode_uid
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.fields import SkipField, empty, get_error_detail
from social_django.models import UserSocialAuth

from config.api.compiled import CompiledQuery
from config.api.fields import FORBIDDEN, BooleanField, SecretField, StringField
from users import audit, limits, services
from users.emails import canonical_email
from users.errors import (
    EmailTaken,
    FreshLoginRequired,
    InvalidLink,
    InvalidRedirectUri,
    NoActiveAccount,
    UsernameTaken,
)
from users.models import USERNAME, AuditEvent, OutgoingEmail, TokenFamily, User
from users.tokens import (
    ACTIVATION,
    EMAIL_CHANGE,
    EMAIL_UNDO,
    PASSWORD_RESET,
    AccessToken,
    LinkToken,
    RefreshToken,
    read_token,
)
from users.validators import MAX_PASSWORD_LENGTH

TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"  # noqa: S105 (an example)


@extend_schema_field(OpenApiTypes.EMAIL)
class AddressField(StringField):
    """An e-mail address, brought into its canonical form."""

    default_error_messages = {"invalid_email": _("Enter a valid e-mail address.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 254} | kwargs)

    def to_internal_value(self, data: Any) -> str:
        try:
            return canonical_email(super().to_internal_value(data))
        except ValueError:
            return self.fail("invalid_email")


class HandleField(StringField):
    def __init__(self, **kwargs: Any) -> None:
        help_text = "A public handle, unique whatever its case."
        super().__init__(validators=[USERNAME], help_text=help_text, **kwargs)


class PasswordField(SecretField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": MAX_PASSWORD_LENGTH} | kwargs)


class LinkField(SecretField):
    """A part of a mailed link. Whatever is wrong with it, its type included, is answered as any bad link is."""

    def run_validation(self, data: Any = empty) -> str:
        if data is empty:
            raise serializers.ValidationError(self.error_messages["required"], "required")
        return data if isinstance(data, str) and not FORBIDDEN.search(data) else ""


def check_password_rules(field: str, password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except DjangoValidationError as error:
        raise serializers.ValidationError({field: get_error_detail(error)}) from None


_HAS_ADDRESS = CompiledQuery[User](
    lambda email: User.objects.filter(email=email).values_list("pk"), "somebody@example.com"
)


class SignUpSerializer(serializers.Serializer[User]):
    """What an account is made of."""

    email = AddressField()
    password = PasswordField(help_text="8 to 128 characters, not a common password, without your name or address.")
    username = HandleField(required=False)

    def validate_email(self, email: str) -> str:
        if settings.REGISTRATION_REVEALS_ACCOUNTS and _HAS_ADDRESS.rows(email):
            raise EmailTaken.here()
        return email

    def validate_username(self, username: str) -> str:
        return free_username(username)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        user = User(email=attrs["email"], username=attrs.get("username", ""))
        check_password_rules("password", attrs["password"], user)
        return attrs


def free_username(username: str, owner: User | None = None) -> str:
    taken = User.objects.filter(username__lower=username.lower())
    if (taken.exclude(pk=owner.pk) if owner else taken).exists():
        raise UsernameTaken.here()
    return username


@extend_schema_serializer(
    examples=[
        OpenApiExample("Another handle", value={"username": "lovelace"}, request_only=True),
        OpenApiExample("Not to be found", value={"discoverable_by_email": False}, request_only=True),
    ]
)
class AccountChangeSerializer(serializers.Serializer[User]):
    """What a person may change about themselves."""

    username = HandleField(required=False)
    discoverable_by_email = BooleanField(required=False)

    default_error_messages = {"email_is_elsewhere": _("The e-mail address is changed at /auth/users/set_email/.")}

    def validate_username(self, username: str) -> str:
        return free_username(username, owner=self.context["request"].user)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        email = self.initial_data.get("email", self.context["request"].user.email)
        if email != self.context["request"].user.email:
            raise serializers.ValidationError(
                {"email": [self.error_messages["email_is_elsewhere"]]}, code="email_is_elsewhere"
            )
        return attrs


class CurrentPasswordField(PasswordField):
    """Required of accounts that have a password; the others need a fresh sign-in instead, whatever they send."""

    def __init__(self) -> None:
        help_text = (
            "Required if you have a password. If you have none, sign in through your provider again: "
            "this call is open for 5 minutes after it."
        )
        super().__init__(required=False, help_text=help_text)

    def run_validation(self, data: Any = empty) -> str:
        request = self.context["request"]
        if not request.user.has_usable_password():
            if not request.auth.is_fresh:
                raise FreshLoginRequired.here()
            raise SkipField
        if data is empty:
            self.fail("required")
        return super().run_validation(data)


class CurrentPasswordSerializer(DjoserCurrentPasswordSerializer):
    current_password = CurrentPasswordField()

    def validate_current_password(self, value: str) -> str:
        """Counted as a try to sign in: a token that was found is no way to guess the password."""
        user = self.context["request"].user
        attempt = limits.password_try(f"login {user.email}", user)
        try:
            password: str = super().validate_current_password(value)
        except serializers.ValidationError:
            audit.record(AuditEvent.Kind.SIGN_IN_FAILED, user)
            raise
        limits.password_was_right(attempt)
        return password


@extend_schema_serializer(
    examples=[OpenApiExample("Close", value={"current_password": "correct horse battery"}, request_only=True)]
)
class CloseAccountSerializer(CurrentPasswordSerializer):
    """Closing an account takes its password, or a fresh login where there is none."""


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "Set a password",
            value={"current_password": "correct horse battery", "new_password": "staple under the moon"},
            request_only=True,
        )
    ]
)
class SetPasswordSerializer(CurrentPasswordSerializer):
    new_password = PasswordField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        check_password_rules("new_password", attrs["new_password"], self.context["request"].user)
        return attrs


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "Change the address",
            value={"new_email": "ada@example.org", "current_password": "correct horse battery"},
            request_only=True,
        )
    ]
)
class SetEmailSerializer(CurrentPasswordSerializer):
    new_email = AddressField()


@extend_schema_serializer(
    examples=[OpenApiExample("An address", value={"email": "ada@example.com"}, request_only=True)]
)
class AddressSerializer(serializers.Serializer[User]):
    """An address to which something is mailed, if there is an account."""

    email = AddressField()


class LinkSerializer(serializers.Serializer[None]):
    """`uid` and `token` out of a mailed link of the kind `link`. Sets `self.user`.

    A bad token gets its one answer before anything of the account has a say. The service has the last word on a good
    one, under the lock.
    """

    uid = LinkField()
    token = LinkField()

    link: LinkToken
    user: User

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            self.user = User.objects.get(pk=int(decode_uid(attrs["uid"])), is_active=True)
        except (User.DoesNotExist, ValueError, OverflowError):
            raise InvalidLink from None
        if self.link.read(self.user, attrs["token"]) is None:
            raise InvalidLink
        return attrs


LINK_EXAMPLE = {"uid": "NDI", "token": "WzQyLCIyZjEi:1tqLw2:Zk1h"}


@extend_schema_serializer(examples=[OpenApiExample("A link", value=LINK_EXAMPLE, request_only=True)])
class ActivationSerializer(LinkSerializer):
    """The link that proves an address."""

    link = ACTIVATION

    def save(self, **kwargs: Any) -> None:
        services.verify_email(self.user, self.validated_data["token"])


@extend_schema_serializer(examples=[OpenApiExample("A link", value=LINK_EXAMPLE, request_only=True)])
class SetEmailConfirmSerializer(LinkSerializer):
    """The link that proves a new address."""

    link = EMAIL_CHANGE

    def save(self, **kwargs: Any) -> None:
        services.change_email(self.user, self.validated_data["token"])


@extend_schema_serializer(examples=[OpenApiExample("A link", value=LINK_EXAMPLE, request_only=True)])
class KeepEmailSerializer(LinkSerializer):
    """The link that undoes a change of address."""

    link = EMAIL_UNDO

    def save(self, **kwargs: Any) -> None:
        services.keep_email(self.user, self.validated_data["token"])


@extend_schema_serializer(
    examples=[
        OpenApiExample("A link", value=LINK_EXAMPLE | {"new_password": "staple under the moon"}, request_only=True)
    ]
)
class PasswordResetConfirmSerializer(LinkSerializer):
    """The link that lets someone in who forgot the password."""

    link = PASSWORD_RESET

    new_password = PasswordField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        check_password_rules("new_password", attrs["new_password"], self.user)
        return attrs

    def save(self, **kwargs: Any) -> None:
        services.reset_password(self.user, self.validated_data["token"], self.validated_data["new_password"])


@extend_schema_serializer(
    examples=[OpenApiExample("A pair", value={"access": TOKEN, "refresh": TOKEN}, response_only=True)],
)
class PairSerializer(serializers.Serializer[Any]):
    """A pair of tokens: `access` for 15 minutes, `refresh` for 14 days."""

    access = StringField(read_only=True)
    refresh = StringField(read_only=True)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "By e-mail", value={"email": "ada@example.com", "password": "correct horse battery"}, request_only=True
        ),
        OpenApiExample(
            "By username", value={"username": "ada", "password": "correct horse battery"}, request_only=True
        ),
    ],
)
class LogInSerializer(PairSerializer):
    """Either `email` or `username`, and the password."""

    email = StringField(required=False, write_only=True, max_length=254)
    username = StringField(required=False, write_only=True, max_length=254)
    password = PasswordField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        login = attrs.get("email") or attrs.get("username")
        if login is None:
            raise serializers.ValidationError(
                {"email": [self.fields["password"].error_messages["required"]]}, "required"
            )
        user = authenticate(self.context["request"], username=login, password=attrs["password"])
        if not isinstance(user, User):
            raise NoActiveAccount
        return RefreshToken.for_user(user).pair


@extend_schema_serializer(examples=[OpenApiExample("A refresh token", value={"refresh": TOKEN}, request_only=True)])
class LogOutSerializer(serializers.Serializer[Any]):
    refresh = SecretField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        read_token(RefreshToken, attrs["refresh"]).end_family()
        return {}


@extend_schema_serializer(examples=[OpenApiExample("A refresh token", value={"refresh": TOKEN}, request_only=True)])
class RefreshSerializer(PairSerializer):
    refresh = SecretField(write_only=False)

    def run_validation(self, data: Any = empty) -> Any:
        """What nearly everybody sends is a string, and needs no fields to be made for it."""
        refresh = data.get("refresh") if isinstance(data, dict) else None
        if isinstance(refresh, str) and refresh and not FORBIDDEN.search(refresh):
            return self.validate({"refresh": refresh})
        return super().run_validation(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        return read_token(RefreshToken, attrs["refresh"]).rotate().pair


@extend_schema_serializer(examples=[OpenApiExample("An access token", value={"token": TOKEN}, request_only=True)])
class VerifySerializer(serializers.Serializer[Any]):
    token = SecretField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        _user = read_token(AccessToken, attrs["token"]).user  # raises where the API would not take the token
        return {}


class ProviderStartSerializer(serializers.Serializer[Any]):
    """What someone who is about to leave for a provider brings along."""

    redirect_uri = StringField(max_length=2048, help_text="Where the provider sends the person back to.")

    def validate_redirect_uri(self, redirect_uri: str) -> str:
        if redirect_uri not in settings.OAUTH_REDIRECT_URIS:
            raise InvalidRedirectUri.here()
        return redirect_uri


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "Where to go",
            value={
                "authorization_url": "https://id.example.com/authorize?client_id=referral&state=Zk1h&code_challenge=E9Me"
            },
            response_only=True,
        )
    ]
)
class AuthorizationUrlSerializer(serializers.Serializer[Any]):
    authorization_url = serializers.URLField(read_only=True, help_text="Send the person's browser there.")


@extend_schema_serializer(
    examples=[OpenApiExample("Back again", value={"code": "SplxlOBeZQQY", "state": "Zk1h"}, request_only=True)]
)
class ProviderReturnSerializer(serializers.Serializer[Any]):
    """What the provider put into the address that it sent the person back to."""

    code = SecretField(max_length=4096)
    state = SecretField(max_length=128)
    device_id = SecretField(max_length=256, required=False, help_text="VK gives one; no other provider does.")


@extend_schema_serializer(
    examples=[
        OpenApiExample("Providers", value={"providers": [{"name": "google", "title": "Google"}]}, response_only=True)
    ]
)
class ProvidersSerializer(serializers.Serializer[Any]):
    """The providers that are switched on."""

    class Provider(serializers.Serializer[Any]):
        name = serializers.CharField(read_only=True, help_text="As in `/auth/o/{name}/`.")
        title = serializers.CharField(read_only=True, help_text="For a button.")

    providers = Provider(many=True, read_only=True)


class SignInSerializer(serializers.ModelSerializer[TokenFamily]):
    class Meta:
        model = TokenFamily
        fields = ("created_at", "rotated_at", "expires_at", "ended_at")
        read_only_fields = fields


class IdentitySerializer(serializers.ModelSerializer[UserSocialAuth]):
    class Meta:
        model = UserSocialAuth
        fields = ("provider", "uid", "created")
        read_only_fields = fields


class MailSerializer(serializers.ModelSerializer[OutgoingEmail]):
    class Meta:
        model = OutgoingEmail
        fields = ("to", "subject", "created_at", "sent_at")
        read_only_fields = fields


class AuditEventSerializer(serializers.ModelSerializer[AuditEvent]):
    class Meta:
        model = AuditEvent
        fields = ("kind", "created_at", "client", "detail")
        read_only_fields = fields


class ExportSerializer(serializers.Serializer[User]):
    """What this app knows of somebody."""

    language = serializers.CharField(read_only=True, help_text="In which mails are written.")
    sign_ins = SignInSerializer(many=True, read_only=True, source="token_families")
    providers = IdentitySerializer(many=True, read_only=True, source="social_auth")
    mails = MailSerializer(many=True, read_only=True, help_text="Those about the account that are still kept.")
    audit_events = AuditEventSerializer(many=True, read_only=True, help_text="What happened to the account.")
