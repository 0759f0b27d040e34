"""The shapes of `/api`, and what an account looks like once referrals are known."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from config.api.fields import DayField, MomentField, StringField
from referrals import codes, figures, services
from referrals.cache import PublicCode
from referrals.errors import EndsTooSoon, InvalidCode
from referrals.models import ReferralCode, referrer_of, summary_of
from users.emails import masked
from users.models import User
from users.serializers import (
    TOKEN,
    AddressField,
    ExportSerializer as PlainExportSerializer,
    PairSerializer,
    ProviderStartSerializer as PlainProviderStartSerializer,
    SignUpSerializer as PlainSignUpSerializer,
)

ZONES = available_timezones()
SHORTEST = timedelta(minutes=1)
LONGEST_YEARS = 5
ON_THE_WAY = timedelta(milliseconds=500)  # somebody who says "in a minute" means it when they say it

CODE = {
    "code": "7K2M-Q9XA-4FH3",
    "expiration_date": "2030-12-31T23:59:59.999999Z",
    "created_at": "2030-01-01T09:00:00Z",
    "share_url": "https://refer.example.com/r/7K2M-Q9XA-4FH3",
}
ACCOUNT = {
    "id": 42,
    "email": "ada@example.com",
    "username": "ada",
    "email_verified": True,
    "discoverable_by_email": True,
    "registered_at": "2030-01-02T10:00:00Z",
    "referrer": {"username": "grace"},
}
SIGN_UP = {"email": "ada@example.com", "password": "correct horse battery", "username": "ada"}


class ReferrerSerializer(serializers.Serializer[User]):
    username = serializers.CharField(read_only=True)


@extend_schema_serializer(
    examples=[
        OpenApiExample("An account", value=ACCOUNT, response_only=True),
    ]
)
class AccountSerializer(serializers.ModelSerializer[User]):
    """A user, as they see themselves."""

    email_verified = serializers.BooleanField(read_only=True)
    referrer = ReferrerSerializer(
        read_only=True, allow_null=True, help_text="Who referred them; null for those who came without a code."
    )

    class Meta:
        model = User
        fields = ("id", "email", "username", "email_verified", "discoverable_by_email", "registered_at", "referrer")
        read_only_fields = fields
        extra_kwargs = {"email": {"allow_null": False}}

    def to_representation(self, user: User) -> dict[str, Any]:
        """By hand, like all that is shown a lot: field by field, DRF takes as long as for the rest of the call."""
        referrer = referrer_of(user)
        return {
            "id": user.pk,
            "email": user.email,
            "username": user.username,
            "email_verified": user.email_verified,
            "discoverable_by_email": user.discoverable_by_email,
            "registered_at": user.registered_at,
            "referrer": {"username": referrer} if referrer else None,
        }


class ReferralCodeField(StringField):
    """A code that someone typed, in any case, with or without dashes."""

    def to_internal_value(self, data: Any) -> str:
        typed = super().to_internal_value(data)
        if services.check_code(typed) is None:
            raise InvalidCode.here()
        return typed


@extend_schema_serializer(
    examples=[OpenApiExample("With a code", value=SIGN_UP | {"referral_code": CODE["code"]}, request_only=True)]
)
class SignUpSerializer(PlainSignUpSerializer):
    """What an account is made of, and the code its owner came by."""

    referral_code = ReferralCodeField(required=False, help_text="The code of who brought you.")

    def create(self, validated_data: dict[str, Any]) -> User:
        return services.register(**validated_data)

    def to_representation(self, instance: User) -> dict[str, Any]:
        return AccountSerializer(instance, context=self.context).data


@extend_schema_serializer(examples=[OpenApiExample("A code", value={"referral_code": CODE["code"]}, request_only=True)])
class ClaimSerializer(serializers.Serializer[Any]):
    referral_code = ReferralCodeField(help_text="The code of who brought you.")


@extend_schema_serializer(
    examples=[
        OpenApiExample("Signed in", value={"access": TOKEN, "refresh": TOKEN, "user": ACCOUNT}, response_only=True)
    ]
)
class SignedInSerializer(PairSerializer):
    """A pair of tokens and whose they are."""

    user = AccountSerializer(read_only=True)


class RegisterSerializer(SignUpSerializer):
    referral_code = ReferralCodeField(help_text="The code of who brought you.")


class ProviderStartSerializer(PlainProviderStartSerializer):
    """The code is checked at once, and waits on the server for who comes back."""

    referral_code = ReferralCodeField(required=False, help_text="The code of who brought you.")


class WishField(StringField):
    """A code of one's own choice."""

    default_error_messages = {
        "invalid_choice": _("4 to 32 of A-Z, 0-9 and -, at least four of them letters or digits, and no reserved word.")
    }

    def to_internal_value(self, data: Any) -> str:
        return codes.choose(super().to_internal_value(data)) or self.fail("invalid_choice")


@extend_schema_serializer(
    examples=[
        OpenApiExample("Made up for you", value={"expiration_date": "2030-12-31"}, request_only=True),
        OpenApiExample(
            "Of your choice",
            value={"expiration_date": "2030-12-31T18:00:00+01:00", "code": "ADA-2030"},
            request_only=True,
        ),
    ]
)
class NewCodeSerializer(serializers.Serializer[ReferralCode]):
    """When the code shall end, and what it shall be."""

    expiration_date = MomentField(
        help_text=(
            "A date and time with an offset, or a date, which means the end of that day in UTC. "
            "At least a minute and at most five years ahead."
        )
    )
    code = WishField(required=False, help_text="4 to 32 of A-Z, 0-9 and -. Left out, one is made up.")

    default_error_messages = {
        "too_late": _("The code can run for five years at most."),
    }

    def validate_expiration_date(self, expires_at: datetime) -> datetime:
        now = timezone.now()
        if expires_at < now + SHORTEST - ON_THE_WAY:
            raise EndsTooSoon.here()
        if expires_at > years_after(now, LONGEST_YEARS) + ON_THE_WAY:
            self.fail("too_late")
        return expires_at


def years_after(moment: datetime, years: int) -> datetime:
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:  # 29 February
        return moment.replace(year=moment.year + years, day=28)


@extend_schema_serializer(examples=[OpenApiExample("A code", value=CODE, response_only=True)])
class CodeSerializer(serializers.ModelSerializer[ReferralCode]):
    """A code, as its owner sees it."""

    expiration_date = serializers.DateTimeField(source="expires_at", read_only=True)
    share_url = serializers.URLField(read_only=True, help_text="A page to hand on, which names the code.")

    class Meta:
        model = ReferralCode
        fields: tuple[str, ...] = ("code", "expiration_date", "created_at", "share_url")
        read_only_fields = fields

    def to_representation(self, code: ReferralCode) -> dict[str, Any]:
        return {
            "code": code.code,
            "expiration_date": code.expires_at,
            "created_at": code.created_at,
            "share_url": code.share_url,
        }


@extend_schema_serializer(
    examples=[
        OpenApiExample("My own", value=CODE, response_only=True),
        OpenApiExample(
            "Somebody else's",
            value={name: CODE[name] for name in ("code", "expiration_date", "share_url")},
            response_only=True,
        ),
    ]
)
class FoundCodeSerializer(CodeSerializer):
    """A code that was looked up. `created_at` comes with one's own only."""

    created_at = serializers.DateTimeField(required=False)

    def to_representation(self, found: tuple[ReferralCode, User]) -> dict[str, Any]:  # type: ignore[override]
        """Of a code, and who looks at it."""
        code, viewer = found
        shown = super().to_representation(code)
        if code.owner_id != viewer.pk:
            del shown["created_at"]
        return shown


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "Usable",
            value={
                "code": CODE["code"],
                "expiration_date": CODE["expiration_date"],
                "referrer": {"username": "grace"},
            },
            response_only=True,
        )
    ]
)
class PublicCodeSerializer(serializers.Serializer[PublicCode]):
    """A code, as anyone may see it who has it."""

    code = serializers.CharField(read_only=True, help_text="As it is shown.")
    expiration_date = serializers.DateTimeField(source="expires_at", read_only=True)
    referrer = ReferrerSerializer(source="*", read_only=True)

    def to_representation(self, code: PublicCode) -> dict[str, Any]:
        return {
            "code": code.code,
            "expiration_date": code.expires_at,
            "referrer": {"username": code.username},
        }


class OwnerQuerySerializer(serializers.Serializer[Any]):
    email = AddressField(required=False, help_text="Of the referrer whose code is meant; left out, it is your own.")


@extend_schema_serializer(
    examples=[
        OpenApiExample("My own code", value={}, request_only=True),
        OpenApiExample("Of somebody else", value={"email": "grace@example.com"}, request_only=True),
    ]
)
class MailCodeSerializer(OwnerQuerySerializer):
    """Whose code shall be mailed."""


@extend_schema_serializer(
    examples=[OpenApiExample("Queued", value={"detail": "The e-mail is on its way."}, response_only=True)]
)
class MailedSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField(read_only=True)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "A referral",
            value={
                "id": 43,
                "username": "linus",
                "email": "l***@example.com",
                "registered_at": "2030-01-03T11:00:00Z",
                "code": CODE["code"],
            },
            response_only=True,
        )
    ]
)
class ReferralSerializer(serializers.Serializer[Any]):
    """Somebody who registered with a code: enough to recognise them, too little to write to them."""

    id = serializers.IntegerField(read_only=True)
    username = serializers.CharField(read_only=True)
    email = serializers.CharField(read_only=True, allow_null=True, help_text="Masked; null once the account is closed.")
    registered_at = serializers.DateTimeField(read_only=True)
    code = serializers.CharField(read_only=True)

    def to_representation(self, row: tuple[Any, ...]) -> dict[str, Any]:
        """Of a row as `ReferralQuerySet.page` has it."""
        _id, user_id, username, email, created_at, code = row
        return {
            "id": user_id,
            "username": username,
            "email": masked(email) if email else None,
            "registered_at": created_at,
            "code": code,
        }


class PointSerializer(serializers.Serializer[Any]):
    day = serializers.DateField(read_only=True, help_text="The day, or the Monday of the week.")
    clicks = serializers.IntegerField(read_only=True)
    registrations = serializers.IntegerField(read_only=True)


class CodeTotalSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(read_only=True)
    total = serializers.IntegerField(read_only=True)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "Two referrals",
            value={
                "total": 2,
                "last_7_days": 1,
                "last_30_days": 2,
                "first_at": "2030-01-03T11:00:00Z",
                "last_at": "2030-01-20T12:00:00Z",
                "clicks": 16,
                "conversion_rate": 0.125,
                "lookups": 5,
                "codes": [{"code": CODE["code"], "total": 2}],
                "series": [
                    {"day": "2030-01-19", "clicks": 0, "registrations": 0},
                    {"day": "2030-01-20", "clicks": 3, "registrations": 1},
                ],
            },
            response_only=True,
        )
    ]
)
class SummarySerializer(serializers.Serializer[Any]):
    """How many registered with somebody's codes, and when."""

    total = serializers.IntegerField(read_only=True)
    last_7_days = serializers.IntegerField(read_only=True)
    last_30_days = serializers.IntegerField(read_only=True)
    first_at = serializers.DateTimeField(read_only=True, allow_null=True)
    last_at = serializers.DateTimeField(read_only=True, allow_null=True)
    clicks = serializers.IntegerField(read_only=True, help_text="How often people opened their share links.")
    conversion_rate = serializers.FloatField(
        read_only=True, allow_null=True, help_text="Registrations for each click; null while there is none."
    )
    lookups = serializers.IntegerField(read_only=True, help_text="How often their code was looked up by their address.")
    codes = CodeTotalSerializer(many=True, read_only=True, help_text="The newest 100 codes, the newest first.")
    series = PointSerializer(many=True, read_only=True, help_text="Where it is asked for by `interval`; else empty.")


class ZoneField(StringField):
    """A time zone by its name in the IANA database."""

    default_error_messages = {"invalid_choice": _("Name a time zone, like Europe/Berlin.")}

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        return name if name in ZONES else self.fail("invalid_choice")


class SeriesQuerySerializer(serializers.Serializer[Any]):
    """Which series of a summary is wanted; none, where `interval` is not there."""

    interval = serializers.ChoiceField(["day", "week"], required=False)
    tz = ZoneField(default="UTC")

    default_error_messages = {
        "no_interval": _("Say by which interval: day or week."),
        "backwards": _("This day is after the last one."),
        "too_long": _("A series has 366 points at most."),
    }

    def get_fields(self) -> dict[str, Any]:
        return super().get_fields() | {"from": DayField(required=False), "to": DayField(required=False)}

    def validate(self, query: dict[str, Any]) -> dict[str, Any]:
        interval, zone = query.get("interval"), ZoneInfo(query["tz"])
        if interval is None:
            if self.initial_data.keys() & self.fields.keys():
                raise serializers.ValidationError({"interval": self.error_messages["no_interval"]}, "required")
            return {}
        last = query.get("to", timezone.now().astimezone(zone).date())
        first = query.get("from", last - figures.USUAL[interval])
        if first > last:
            raise serializers.ValidationError({"from": self.error_messages["backwards"]}, "backwards")
        if len(figures.days_of(interval, first, last)) > figures.MOST:
            raise serializers.ValidationError({"from": self.error_messages["too_long"]}, "too_long")
        return {"interval": interval, "first": first, "last": last, "zone": zone}


class KeptCodeSerializer(CodeSerializer):
    class Meta(CodeSerializer.Meta):
        fields: tuple[str, ...] = (*CodeSerializer.Meta.fields, "retired_at")
        read_only_fields = fields

    def to_representation(self, code: ReferralCode) -> dict[str, Any]:
        return super().to_representation(code) | {"retired_at": code.retired_at}


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "Everything",
            value={
                "account": ACCOUNT,
                "referral_codes": [CODE | {"retired_at": None}],
                "referrals": {
                    "total": 1,
                    "last_7_days": 0,
                    "last_30_days": 0,
                    "first_at": "2030-01-03T11:00:00Z",
                    "last_at": "2030-01-03T11:00:00Z",
                    "clicks": 4,
                    "conversion_rate": 0.25,
                    "lookups": 0,
                    "codes": [{"code": CODE["code"], "total": 1}],
                    "series": [],
                },
                "language": "en",
                "sign_ins": [
                    {
                        "created_at": "2030-01-02T10:00:00Z",
                        "rotated_at": None,
                        "expires_at": "2030-04-02T10:00:00Z",
                        "ended_at": None,
                    }
                ],
                "providers": [{"provider": "google", "uid": "1065", "created": "2030-01-02T10:00:00Z"}],
                "mails": [
                    {
                        "to": "ada@example.com",
                        "subject": "Your referral code",
                        "created_at": "2030-01-02T10:00:00Z",
                        "sent_at": "2030-01-02T10:00:01Z",
                    }
                ],
                "audit_events": [
                    {
                        "kind": "signed_in",
                        "created_at": "2030-01-02T10:00:00Z",
                        "client": "0c2f7b1e9d3a5f60",
                        "detail": {},
                    }
                ],
            },
            response_only=True,
        )
    ]
)
class ExportSerializer(PlainExportSerializer):
    """All that is known of somebody. Who their referrals are is those people's own; their number is here."""

    account = AccountSerializer(source="*", read_only=True)
    referral_codes = KeptCodeSerializer(many=True, read_only=True)
    referrals = serializers.SerializerMethodField()

    @extend_schema_field(SummarySerializer)
    def get_referrals(self, user: User) -> Any:
        return SummarySerializer(summary_of(user)).data
