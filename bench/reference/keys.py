"""Tokens, cursors and links, signed as the service signs them."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import jwt

ACCESS_LIFETIME, REFRESH_LIFETIME, FAMILY_LIFETIME = 15 * 60, 14 * 86400, 90 * 86400  # seconds
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NOT_COPIED = {"typ", "exp", "jti", "fam", "end"}  # from a refresh token into its access token

Claims = dict[str, Any]


@dataclass(frozen=True)
class Keys:
    secret_key: str
    jwt_key: str
    public_url: str

    @classmethod
    def of(cls, environment: Any) -> "Keys":
        return cls(environment["SECRET_KEY"], environment["JWT_SIGNING_KEY"], environment["PUBLIC_URL"])

    # --- JWT ---

    def new_claims(self, kind: str, lifetime: int, **claims: Any) -> Claims:
        now = int(time.time())
        return {"typ": kind, "exp": now + lifetime, "iat": now, "jti": uuid4().hex} | claims

    def encode(self, claims: Claims) -> str:
        return jwt.encode(claims | {"aud": self.public_url, "iss": self.public_url}, self.jwt_key, "HS256")

    def decode(self, token: str, kind: str) -> Claims | None:
        """The claims of a good token of this kind; None for any other."""
        try:
            claims = jwt.decode(
                token,
                self.jwt_key,
                ["HS256"],
                options={"require": ["exp", "jti", "sub", "ver"]},
                audience=self.public_url,
                issuer=self.public_url,
            )
        except jwt.InvalidTokenError:
            return None
        is_good = claims.get("typ") == kind and claims["sub"].isdigit() and isinstance(claims["ver"], int)
        return claims if is_good else None

    def access_token(self, refresh: Claims) -> str:
        """The access token that goes with a refresh token."""
        copied = {name: value for name, value in refresh.items() if name not in NOT_COPIED}
        return self.encode(self.new_claims("access", ACCESS_LIFETIME) | copied)

    # --- What Django signs ---

    def salted_hmac(self, salt: str, value: str) -> "hmac.HMAC":
        key = hashlib.sha256((salt + self.secret_key).encode()).digest()
        return hmac.new(key, value.encode(), hashlib.sha256)

    def sign(self, value: str, salt: str) -> str:
        return f"{value}:{b64(self.salted_hmac(salt + 'signer', value).digest())}"

    def sign_object(self, value: Any, salt: str) -> str:
        return self.sign(b64(json.dumps(value, separators=(",", ":")).encode()), salt)

    def unsign_object(self, signed: str, salt: str) -> Any:
        """Raises ValueError."""
        value, _colon, _signature = signed.rpartition(":")
        if not hmac.compare_digest(self.sign(value, salt).encode(), signed.encode()):
            raise ValueError("a bad signature")
        return json.loads(urlsafe_b64decode(value + "=" * (-len(value) % 4)))

    def cursor(self, position: int, *, reverse: bool = False) -> str:
        """Where the page begins that comes after the referral `position`, or before it."""
        return self.sign_object([0, reverse, str(position)], "config.api.pagination")

    def read_cursor(self, cursor: str) -> tuple[bool, int]:
        """Whether it leads back, and its position. Raises ValueError."""
        _offset, reverse, position = self.unsign_object(cursor, "config.api.pagination")
        return reverse, int(position)

    def activation_link(self, user_id: int, email: str, password: str) -> str:
        """The link in the mail that proves the address of a new account."""
        salt = "users.link.activation"
        state = self.salted_hmac(salt, f"{email} False {password} 0 True").hexdigest()[:32]
        value = b64(json.dumps([user_id, state, ""], separators=(",", ":")).encode())
        token = self.sign(f"{value}:{base62(int(time.time()))}", salt)
        return f"{self.public_url}/account/activate/{b64(str(user_id).encode())}/{token}/"

    def client_pseudonym(self, network: str) -> str:
        return self.salted_hmac("config.api.client", network).hexdigest()[:32]


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def b64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def base62(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits or "0"
