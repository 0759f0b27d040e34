"""Tokens: the access and refresh tokens of the API, and those in the links of e-mails."""

from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

import jwt
from django.conf import settings
from django.core import signing
from django.utils import timezone
from django.utils.crypto import salted_hmac
from jwt.algorithms import HMACAlgorithm
from rest_framework.request import Request
from rest_framework_simplejwt import authentication, tokens
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.utils import datetime_to_epoch

from config.api import context
from config.api.compiled import ID, CompiledQuery
from users import audit
from users.errors import InvalidToken
from users.models import AuditEvent, PendingUndo, TokenFamily, User, digest

MAX_ID = 2**63 - 1
_ACTIVE = CompiledQuery[User](lambda user_id: User.objects.filter(pk=user_id, is_active=True), ID)
T = TypeVar("T", bound=tokens.Token)


class _KnownKeys(HMACAlgorithm):
    """PyJWT's own, which looks at a key once, and not at each token, for being none: of SSH, X.509 or a JWK."""

    prepare_key = lru_cache(maxsize=16)(HMACAlgorithm.prepare_key)


jwt.unregister_algorithm("HS256")
jwt.register_algorithm("HS256", _KnownKeys(HMACAlgorithm.SHA256))


class _TwoKeys(TokenBackend):
    """Signs with one key and takes what the one before it has signed, while that is set: keys can be changed."""

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """The claims. Of a token that was good before, `Token` itself looks again whether it is over."""
        return dict(self._decoded(token, verify, settings.JWT_PREVIOUS_KEY))

    @lru_cache(maxsize=1024)  # noqa: B019 (there is one of it) -- people come again and again with the same token
    def _decoded(self, token: Any, verify: bool, previous_key: str) -> dict[str, Any]:
        try:
            return super().decode(token, verify)
        except TokenBackendExpiredToken:
            raise
        except TokenBackendError:
            if not previous_key:
                raise
            return TokenBackend(self.algorithm, previous_key, "", self.audience, self.issuer).decode(token, verify)


class _Checked(tokens.Token):
    """A token whose claims may hold anything at all under a good signature, and are refused as any bad token is."""

    token_backend = _TwoKeys(
        api_settings.ALGORITHM, api_settings.SIGNING_KEY, "", api_settings.AUDIENCE, api_settings.ISSUER
    )

    def __init__(self, token: Any = None, verify: bool = True) -> None:
        try:
            super().__init__(token, verify)
        except (ArithmeticError, AttributeError, OSError, TypeError, ValueError) as error:
            raise TokenError("Token is invalid") from error


class AccessToken(_Checked, tokens.AccessToken):
    """Opens the API for 15 minutes, or until the account is blocked, closed or given a new password."""

    FRESH_FOR = timedelta(minutes=5)

    @property
    def user(self) -> User:
        """The account the token speaks for now. Raises InvalidToken where it speaks for none any more."""
        return _owner_of(self)

    @property
    def is_fresh(self) -> bool:
        """Whether the login that it came of was just now. The claim is that of OpenID Connect Core, section 2."""
        login = self.get("auth_time")
        age = datetime_to_epoch(self.current_time) - login if isinstance(login, int) else -1
        return 0 <= age <= self.FRESH_FOR.total_seconds()


class RefreshToken(_Checked, tokens.RefreshToken):
    """Buys one new pair. Good for 14 days, and its family for 90."""

    access_token_class = AccessToken
    no_copy_claims = (*tokens.RefreshToken.no_copy_claims, "fam", "end")

    @classmethod
    def for_user(cls, user: User) -> "RefreshToken":
        """Log `user` in: the first token of a new family."""
        token = cls()
        end = token.current_time + settings.REFRESH_FAMILY_LIFETIME
        family = TokenFamily(user=user, current=digest(token["jti"]), expires_at=end).insert()
        token.payload |= {
            "sub": str(user.pk),
            "ver": user.token_version,
            "fam": family.pk,
            "end": datetime_to_epoch(end),
            "auth_time": datetime_to_epoch(token.current_time),
        }
        return token

    def rotate(self) -> "RefreshToken":
        """Trade this token for its successor. Raises InvalidToken for all but the first that tries."""
        successor = RefreshToken()
        successor.payload |= {claim: self.get(claim) for claim in ("sub", "ver", "fam", "end", "auth_time")}
        successor["exp"] = min(successor["exp"], _whole(self, "end"))
        family, owner, version = (_whole(self, claim) for claim in ("fam", "sub", "ver"))
        rotation = TokenFamily.rotate(family, owner, version, str(self["jti"]), str(successor["jti"]))
        if rotation is TokenFamily.Rotation.REUSED:
            audit.record(AuditEvent.Kind.TOKEN_REUSED, owner)
        if not rotation:
            raise InvalidToken
        return successor

    def end_family(self) -> None:
        """Log out. Raises InvalidToken where the login had ended before."""
        if not TokenFamily.end(_whole(self, "fam")):
            raise InvalidToken
        audit.record(AuditEvent.Kind.SIGNED_OUT, _whole(self, "sub"))

    @property
    def pair(self) -> dict[str, str]:
        return {"access": str(self.access_token), "refresh": str(self)}


def _owner_of(token: tokens.Token) -> User:
    """The account that a token speaks for now. Raises InvalidToken where it speaks for none any more."""
    version = _whole(token, "ver")
    for user in _ACTIVE.objects(_whole(token, "sub")):
        if user.token_version == version:
            return user
    raise InvalidToken


def _whole(token: tokens.Token, claim: str) -> int:
    """A claim that is a whole number of a database's size. Raises InvalidToken for anything else."""
    value = token.get(claim)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
        raise InvalidToken
    return value


class SignedInRequest(Request):
    """A request that got past `IsAuthenticated`."""

    user: User


class BearerAuthentication(authentication.JWTAuthentication):
    """`Authorization: Bearer <access token>`, at the cost of one look at the account."""

    def get_raw_token(self, header: bytes) -> bytes | None:
        scheme, _space, token = header.strip().partition(b" ")
        return token.strip() if scheme.lower() == b"bearer" else None

    def authenticate(self, request: Request) -> tuple[User, tokens.Token] | None:
        header = self.get_header(request)
        raw = self.get_raw_token(header) if header is not None else None
        if raw is None:
            return None
        token = read_token(AccessToken, raw)
        user = token.user
        context.user_id.set(user.pk)
        return user, token


def read_token(kind: type[T], raw: Any) -> T:
    """Read a token of one kind. Raises InvalidToken."""
    try:
        return kind(raw)
    except TokenError:
        raise InvalidToken from None


class LinkToken:
    """A token for the link in an e-mail: good for one purpose, one account in its present state, and a while.

    A new password, a new address, or what the link itself brings about makes an account's state another one.
    """

    def __init__(self, purpose: str, lifetime: timedelta) -> None:
        self.salt = f"users.link.{purpose}"
        self.lifetime = lifetime

    def make(self, user: User, payload: str = "") -> str:
        return signing.dumps([user.pk, self._state(user), payload], salt=self.salt)

    def read(self, user: User, token: str) -> str | None:
        """The payload of a good token of `user`; None for any other."""
        try:
            owner, state, payload = signing.loads(token, salt=self.salt, max_age=self.lifetime)
        except (signing.BadSignature, ValueError):
            return None
        keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        return payload if owner == user.pk and any(state == self._state(user, key) for key in keys) else None

    def _state(self, user: User, key: str | None = None) -> str:
        state = f"{user.email} {user.email_verified} {user.password} {user.token_version} {user.is_active}"
        return salted_hmac(self.salt, state, secret=key, algorithm="sha256").hexdigest()[:32]


class UndoToken(LinkToken):
    """A token that takes back what somebody else may have done to an account, its payload being how it was before.

    Who took the account over can change any of its state, so none counts but that it is neither blocked nor closed.
    What makes a token good is its row. Using one ends it and all that were made after it, for those may have
    gone to a thief; one that was made before stays good, so that a thief who undoes something gains nothing.
    """

    def make(self, user: User, payload: str = "") -> str:
        row = PendingUndo.objects.create(user=user, ends_at=timezone.now() + self.lifetime)
        return super().make(user, f"{row.pk} {payload}")

    def use(self, user: User, token: str) -> str | None:
        """The payload of a good token, which is used up by it; None for any other. Lock the account before."""
        number, _space, payload = (self.read(user, token) or "").partition(" ")
        pending = PendingUndo.objects.filter(user=user)
        if not number or not pending.filter(pk=number).exists():
            return None
        pending.filter(pk__gte=number).delete()
        return payload

    def _state(self, user: User, key: str | None = None) -> str:
        return str(user.is_active)


ACTIVATION = LinkToken("activation", settings.ACTIVATION_LIFETIME)
PASSWORD_RESET = LinkToken("password-reset", settings.PASSWORD_RESET_LIFETIME)
EMAIL_CHANGE = LinkToken("email-change", settings.EMAIL_CHANGE_LIFETIME)
EMAIL_UNDO = UndoToken("email-undo", settings.EMAIL_UNDO_LIFETIME)
