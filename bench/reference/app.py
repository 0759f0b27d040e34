"""The calls, and what they have in common: who asks, how it is told that something is refused."""

import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import IPv6Network, ip_address
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import uuid4

import asyncpg
import orjson
from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, Field
from redis.asyncio import Redis
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.reference import mail, passwords, sql
from bench.reference.keys import (
    FAMILY_LIFETIME,
    REFRESH_LIFETIME,
    Claims,
    Keys,
    digest,
)
from referrals import codes
from users.emails import canonical_email, masked

KEYS = Keys.of(os.environ)
SENDER = os.environ.get("DEFAULT_FROM_EMAIL", "Referral service <noreply@localhost>")
SESSION = {
    "statement_timeout": "3500",
    "lock_timeout": "3500",
    "idle_in_transaction_session_timeout": "30000",
    # The plan of a prepared statement is made for an average referrer, whose few referrals may as well be sorted. With
    # 100,000 that takes its time; without this they come sorted off the index.
    "enable_bitmapscan": "off",
}
HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]
TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
}

request_id: ContextVar[str] = ContextVar("request_id")
pool: asyncpg.Pool
redis: Redis


async def keep(connection: asyncpg.Connection) -> None:
    """Nothing here changes a session, so that nothing has to be reset between two requests."""


@asynccontextmanager
async def connections(_app: FastAPI) -> AsyncIterator[None]:
    global pool, redis
    redis = Redis.from_url(os.environ["REDIS_URL"], socket_connect_timeout=2, socket_timeout=10)
    async with (
        redis,
        asyncpg.create_pool(
            os.environ["DATABASE_URL"], min_size=2, max_size=8, reset=keep, server_settings=SESSION
        ) as pool,
    ):
        yield


class Envelope:
    """Names each request, and gives every answer the headers that are always the same."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = uuid4().hex
        request_id.set(name)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [*HEADERS, (b"x-request-id", name.encode())]
            await send(message)

        await self.app(scope, receive, send_with_headers)


app = FastAPI(lifespan=connections, openapi_url=None)
app.add_middleware(Envelope)


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_UTC_Z)


# --- Refusals ---


class ProblemError(Exception):
    def __init__(self, status: int, code: str, detail: str, field: str = "") -> None:
        self.status = status
        self.body: dict[str, Any] = {
            "type": "about:blank",
            "title": TITLES.get(status, str(status)),
            "status": status,
            "detail": detail,
            "code": "invalid" if field else code,
        }
        if field:
            self.body["errors"] = [{"field": field, "code": code, "detail": detail}]


@app.exception_handler(ProblemError)
async def tell(_request: Request, problem: ProblemError) -> Response:
    headers = {"WWW-Authenticate": 'Bearer realm="api"'} if problem.status == 401 else None
    body = problem.body | {"request_id": request_id.get()}
    return Response(orjson.dumps(body), problem.status, headers, "application/problem+json")


@app.exception_handler(RequestValidationError)
async def tell_invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    return await tell(request, ProblemError(400, first["type"], first["msg"], str(first["loc"][-1])))


@app.exception_handler(HTTPException)
async def tell_http(request: Request, error: HTTPException) -> Response:
    return await tell(request, ProblemError(error.status_code, "not_found", str(error.detail)))


def invalid_token() -> ProblemError:
    return ProblemError(401, "token_not_valid", "The token is not valid or has expired.")


def no_active_code() -> ProblemError:
    return ProblemError(404, "no_active_code", "There is no active referral code.")


def invalid_code() -> ProblemError:
    return ProblemError(400, "invalid_code", "This referral code is not valid.", "referral_code")


# --- Who asks ---


async def current_user(authorization: Annotated[str, Header()] = "") -> asyncpg.Record:
    scheme, _space, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise ProblemError(401, "not_authenticated", "Authentication credentials were not provided.")
    claims = KEYS.decode(token.strip(), "access")
    user = claims and await pool.fetchrow(sql.USER, int(claims["sub"]))
    if not claims or not user or user["token_version"] != claims["ver"]:
        raise invalid_token()
    return user


CurrentUser = Annotated[asyncpg.Record, Depends(current_user)]


def client_of(request: Request) -> str:
    """What is kept of who asks: an IPv6 address counts as its /64."""
    address = ip_address(request.client.host if request.client else "0.0.0.0")  # noqa: S104 (not bound)
    network = str(address) if address.version == 4 else str(IPv6Network((address, 64), strict=False))
    return KEYS.client_pseudonym(network)


# --- What is sent ---

FORBIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffd]"
)
USERNAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{1,39}$"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)", re.ASCII)
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def only_text(value: str) -> str:
    if FORBIDDEN.search(value):
        raise ValueError("Control and invisible characters are not allowed.")
    return value


def moment(value: str) -> datetime:
    """A date and time with an offset, or a date, which means the end of that day in UTC."""
    if DAY.fullmatch(value):
        return datetime.combine(date.fromisoformat(value), time.max, UTC)
    if MOMENT.fullmatch(value):
        return datetime.fromisoformat(value).astimezone(UTC)
    raise ValueError("Write a date and time with an offset, like 2030-12-31T18:00:00Z, or a date, like 2030-12-31.")


Text = Annotated[str, AfterValidator(only_text)]
Address = Annotated[Text, AfterValidator(canonical_email)]


class NewCode(BaseModel):
    expiration_date: Annotated[str, AfterValidator(moment)]


class LogIn(BaseModel):
    email: Annotated[Text, Field(max_length=254)] | None = None
    username: Annotated[Text, Field(max_length=254)] | None = None
    password: Annotated[Text, Field(max_length=128)]


class Refresh(BaseModel):
    refresh: str


class SignUp(BaseModel):
    email: Address
    password: Annotated[Text, Field(max_length=128)]
    referral_code: Text
    username: Annotated[Text, Field(pattern=USERNAME)] | None = None


# --- Referrals ---


@app.get("/api/referrals/{user_id}/")
async def list_referrals(
    user_id: int,
    request: Request,
    user: CurrentUser,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: str | None = None,
) -> Response:
    if user_id != user["id"]:
        raise ProblemError(403, "permission_denied", "You do not have permission to perform this action.")
    reverse, position = False, None
    if cursor is not None:
        try:
            reverse, position = KEYS.read_cursor(cursor)
        except ValueError:
            detail = "Take the cursor from a page's `next` or `previous`, unaltered."
            raise ProblemError(400, "invalid", detail, "cursor") from None
    if position is None:
        found = await pool.fetch(sql.referrals(limit + 1), user_id)
    elif reverse:
        found = await pool.fetch(sql.referrals(limit + 1, "AND id > $2", "ASC"), user_id, position)
    else:
        found = await pool.fetch(sql.referrals(limit + 1, "AND id < $2"), user_id, position)
    page, goes_on = found[:limit], len(found) > limit
    if reverse:
        page.reverse()
    has_next, has_previous = (True, goes_on) if reverse else (goes_on, position is not None)

    def link(cursor: str) -> str:
        query = sorted((dict(request.query_params) | {"cursor": cursor}).items())
        return f"{request.scope['scheme']}://{request.headers['host']}{request.scope['path']}?{urlencode(query)}"

    beside = (position or 0) + (1 if reverse else -1)  # of an empty page: the position is on the one next to it
    first, last = (page[0]["position"], page[-1]["position"]) if page else (beside, beside)
    results = [
        {
            "id": row["id"],
            "username": row["username"],
            "email": masked(row["email"]) if row["email"] else None,
            "registered_at": row["registered_at"],
            "code": row["code"],
        }
        for row in page
    ]
    return Json(
        {
            "next": link(KEYS.cursor(last)) if has_next else None,
            "previous": link(KEYS.cursor(first, reverse=True)) if has_previous else None,
            "results": results,
        }
    )


# --- Codes ---


def shown(code: asyncpg.Record) -> dict[str, Any]:
    return {
        "code": code["code"],
        "expiration_date": code["expires_at"],
        "created_at": code["created_at"],
        "share_url": f"{KEYS.public_url}/r/{code['code']}",
    }


@app.get("/api/referral-code/")
async def show_code(user: CurrentUser, email: Address | None = None) -> Response:
    if email is None or email == user["email"]:
        own = await pool.fetchrow(sql.OWN_CODE, user["id"])
        if own is None:
            raise no_active_code()
        return Json(shown(own))
    code = await pool.fetchrow(sql.FINDABLE_CODE, email)
    if code is None:
        raise no_active_code()
    await pool.execute(sql.COUNT_LOOKUP, code["owner_id"])
    share_url = f"{KEYS.public_url}/r/{code['code']}"
    return Json({"code": code["code"], "expiration_date": code["expires_at"], "share_url": share_url})


@app.post("/api/referral-code/")
async def create_code(new: NewCode, user: CurrentUser) -> Response:
    expires_at: Any = new.expiration_date  # a datetime by now
    now = datetime.now(UTC)
    if expires_at < now + timedelta(seconds=59.5):
        raise ProblemError(400, "too_soon", "The code must run for at least a minute.", "expiration_date")
    if expires_at > five_years_after(now) + timedelta(seconds=0.5):
        raise ProblemError(400, "too_late", "The code can run for five years at most.", "expiration_date")
    async with pool.acquire() as connection, connection.transaction():
        owner = await connection.fetchrow(sql.LOCK_USER, user["id"])
        if owner is None or owner["closed_at"]:
            raise invalid_token()
        if await connection.fetchrow(sql.OWN_CODE, user["id"]):
            detail = "You already have an active referral code. Delete it first."
            raise ProblemError(409, "active_code_exists", detail)
        await connection.execute(sql.RETIRE_EXPIRED, user["id"])
        while await connection.fetchval(sql.CODE_WAS_USED, codes.fold(code := codes.generate())):
            pass
        made = await connection.fetchrow(sql.NEW_CODE, user["id"], code, codes.fold(code), expires_at)
    return Json(shown(made), 201)


def five_years_after(now: datetime) -> datetime:
    try:
        return now.replace(year=now.year + 5)
    except ValueError:  # 29 February
        return now.replace(year=now.year + 5, day=28)


@app.delete("/api/referral-code/")
async def retire_code(user: CurrentUser) -> Response:
    async with pool.acquire() as connection, connection.transaction():
        code = await connection.fetchval(sql.LOCK_OWN_CODE, user["id"])
        if code is None or await connection.execute(sql.RETIRE, code) != "UPDATE 1":
            raise no_active_code()
    return Response(status_code=204)


@app.get("/api/referral-code/{code}/")
async def check_code(code: str) -> Response:
    found = await pool.fetchrow(sql.USABLE_CODE, codes.read(code) or "")
    if found is None:
        raise no_active_code()
    referrer = {"username": found["username"]}
    return Json({"code": found["code"], "expiration_date": found["expires_at"], "referrer": referrer})


# --- Signing up and in ---


@app.post("/api/register-with-referral/")
async def register(new: SignUp) -> Response:
    typed = codes.read(new.referral_code) or ""
    if not await pool.fetchrow(sql.USABLE_CODE, typed):
        raise invalid_code()
    email_taken = ProblemError(400, "email_taken", "There is an account with this e-mail address already.", "email")
    username_taken = ProblemError(400, "username_taken", "This username is taken.", "username")
    if await pool.fetchval(sql.EMAIL_IS_TAKEN, new.email):
        raise email_taken
    if new.username and await pool.fetchval(sql.USERNAME_IS_TAKEN, new.username.lower()):
        raise username_taken
    if weakness := passwords.weakness(new.password, new.email, new.username or ""):
        raise ProblemError(400, weakness, "Choose another password.", "password")
    password = await passwords.hash_password(new.password)  # before any lock
    username = new.username or made_up_username()
    async with pool.acquire() as connection, connection.transaction():
        code = await connection.fetchrow(sql.LOCK_CODE, typed)
        if code is None:
            raise invalid_code()
        try:
            user = await connection.fetchrow(sql.NEW_USER, new.email, username, password)
        except asyncpg.UniqueViolationError as error:
            raise (email_taken if "email" in (error.constraint_name or "") else username_taken) from None
        url = KEYS.activation_link(user["id"], new.email, password)
        message = mail.message(new.email, url, KEYS.public_url, SENDER)
        await connection.execute(sql.NEW_MAIL, new.email, user["id"], mail.SUBJECT, message)
        referred_at = await connection.fetchval(sql.NEW_REFERRAL, code["owner_id"], user["id"], code["id"])
        if referred_at >= code["expires_at"]:
            raise invalid_code()
    await mail.deliver_soon(redis)
    account = {
        "id": user["id"],
        "email": new.email,
        "username": username,
        "email_verified": False,
        "discoverable_by_email": True,
        "registered_at": user["registered_at"],
        "referrer": {"username": code["username"]},
    }
    return Json(account, 201)


def made_up_username() -> str:
    letters = "23456789abcdefghjkmnpqrstvwxyz"
    return "user-" + "".join(secrets.choice(letters) for _letter in range(10))


@app.post("/auth/jwt/create/")
async def log_in(sent: LogIn, request: Request) -> Response:
    login = sent.email or sent.username
    if login is None:
        raise ProblemError(400, "required", "This field is required.", "email")
    try:
        statement, login = sql.BY_EMAIL, canonical_email(login)
    except ValueError:
        statement, login = sql.BY_USERNAME, login.lower()
    user = await pool.fetchrow(statement, login)
    is_right = await passwords.verify(sent.password, user["password"] if user else passwords.NOBODYS)
    client = client_of(request)
    if not user or not is_right or not user["is_active"]:
        await pool.execute(sql.AUDIT, "sign_in_failed", user and user["id"], client, request_id.get())
        detail = "There is no active account with these credentials."
        raise ProblemError(401, "no_active_account", detail)
    if passwords.is_outdated(user["password"]):
        renewed = await passwords.hash_password(sent.password)
        await pool.execute(sql.RENEW_HASH, user["id"], user["password"], renewed)
    claims = KEYS.new_claims("refresh", REFRESH_LIFETIME, sub=str(user["id"]), ver=user["token_version"])
    end = claims["iat"] + FAMILY_LIFETIME
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(sql.AUDIT, "signed_in", user["id"], client, request_id.get())
        ends_at = datetime.fromtimestamp(end, UTC)
        family = await connection.fetchval(sql.NEW_FAMILY, user["id"], digest(claims["jti"]), ends_at)
    return pair(claims | {"fam": family, "end": end, "auth_time": claims["iat"]})


@app.post("/auth/jwt/refresh/")
async def refresh(sent: Refresh, request: Request) -> Response:
    old = KEYS.decode(sent.refresh, "refresh")
    if old is None or not await pool.fetchval(sql.USER_IS_ALIVE, int(old["sub"]), old["ver"]):
        raise invalid_token()
    kept = {name: old[name] for name in ("sub", "ver", "fam", "end", "auth_time")}
    new = KEYS.new_claims("refresh", REFRESH_LIFETIME, **kept)
    new["exp"] = min(new["exp"], new["end"])
    if await pool.execute(sql.ROTATE, old["fam"], digest(old["jti"]), digest(new["jti"])) != "UPDATE 1":
        if await pool.execute(sql.END_REUSED, old["fam"], digest(old["jti"])) == "UPDATE 1":
            await pool.execute(sql.AUDIT, "token_reused", int(old["sub"]), client_of(request), request_id.get())
        raise invalid_token()
    return pair(new)


def pair(claims: Claims) -> Response:
    return Json({"access": KEYS.access_token(claims), "refresh": KEYS.encode(claims)})


@app.get("/readyz")
async def readyz() -> Response:
    return Json({"database": await pool.fetchval("SELECT 1")})
