"""Every setting of the service, read from the environment or `.env`.

What a person may set is read in one place at the top, strictly and all at once: a start with three wrong values
names all three. `.env.example` lists the names with their defaults.
"""

import json
import logging
import os
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from celery.schedules import crontab
from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _
from environs import EnvValidationError, validate as must
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import sentry
from config.api import API_PREFIXES
from config.environment import (
    EMAIL_PROVIDERS,
    VISIBLE,
    Network,
    at_least_or_for_ever,
    env,
    is_address,
    is_clear_text,
    is_database,
    is_folder_to_be,
    is_guessable,
    is_host,
    is_host_pattern,
    is_origin,
    is_postgres,
    is_redis,
    is_sender,
    is_signing_key,
    is_url,
    read_env_file,
)
from config.secrets import make_up_secrets

BASE_DIR = Path(__file__).resolve().parent.parent

# --- What the environment says -------------------------------------------------------------------

ENV_FILE = Path(os.environ.get("ENV_FILE", BASE_DIR / ".env"))
_env_file_problem = read_env_file(ENV_FILE)

DEBUG = env.bool("DEBUG", False)
HOST = env.str("HOST", "127.0.0.1")
PORT = env.int("PORT", 8000, validate=must.Range(1, 65535))
WEB_WORKERS = env.int("WEB_WORKERS", 2, validate=must.Range(1, 256))
WEB_THREADS = env.int("WEB_THREADS", 4, validate=must.Range(1, 1024))
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")
ALLOWED_HOSTS: list[str] = env.words("ALLOWED_HOSTS", "")
CORS_ORIGINS: list[str] = env.words("CORS_ORIGINS", "")
TRUSTED_PROXIES: list[Network] = env.networks("TRUSTED_PROXIES", "")
SECRET_KEY = env.str("SECRET_KEY", "")
SECRET_KEY_FALLBACKS: list[str] = env.words("SECRET_KEY_FALLBACKS", "")
JWT_SIGNING_KEY = env.str("JWT_SIGNING_KEY", "")
JWT_PREVIOUS_KEY = env.str("JWT_PREVIOUS_KEY", "")
DATABASE_URL = env.str("DATABASE_URL", "")
_sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(BASE_DIR / "db.sqlite3")}
_database: Any = env.dj_db_url("DATABASE_URL") if DATABASE_URL else _sqlite
DATABASE_REPLICA_URL = env.str("DATABASE_REPLICA_URL", "")
_replica: Any = env.dj_db_url("DATABASE_REPLICA_URL") if DATABASE_REPLICA_URL else None
PGBOUNCER = env.bool("PGBOUNCER", False)
REDIS_URL = env.str("REDIS_URL", "")
LOG_FORMAT = env.str("LOG_FORMAT", "text", validate=must.OneOf(["text", "json"]))
METRICS_TOKEN = env.str("METRICS_TOKEN", "")
SENTRY_DSN = env.str("SENTRY_DSN", "")
LANGUAGE_CODE = env.str("LANGUAGE_CODE", "en", validate=must.OneOf(["en", "ru"]))
EMAIL_FILE_PATH = env.str("EMAIL_FILE_PATH", "sent_emails")
EMAIL_HOST = env.str("EMAIL_HOST", "")
EMAIL_PORT = env.int("EMAIL_PORT", 25, validate=must.Range(1, 65535))
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.str("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = env.bool("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = env.bool("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT", 10, validate=must.Range(1, 60))
EMAIL_PROVIDER = env.str("EMAIL_PROVIDER", "", validate=must.OneOf(["", *EMAIL_PROVIDERS]))
ANYMAIL = {
    name.removeprefix("ANYMAIL_"): env.option(name)
    for name in {name.removesuffix("_FILE") for name, value in os.environ.items() if value}
    if name.startswith("ANYMAIL_")
}
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "Referral service <noreply@localhost>")
OAUTH_REDIRECT_URIS: list[str] = env.words("OAUTH_REDIRECT_URIS", "")
GOOGLE_CLIENT_ID = env.str("GOOGLE_CLIENT_ID", "")
GOOGLE_CLIENT_SECRET = env.str("GOOGLE_CLIENT_SECRET", "")
GITHUB_CLIENT_ID = env.str("GITHUB_CLIENT_ID", "")
GITHUB_CLIENT_SECRET = env.str("GITHUB_CLIENT_SECRET", "")
YANDEX_CLIENT_ID = env.str("YANDEX_CLIENT_ID", "")
YANDEX_CLIENT_SECRET = env.str("YANDEX_CLIENT_SECRET", "")
VK_CLIENT_ID = env.str("VK_CLIENT_ID", "")
VK_CLIENT_SECRET = env.str("VK_CLIENT_SECRET", "")
OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", "")
OIDC_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", "")
OIDC_ISSUER = env.str("OIDC_ISSUER", "").rstrip("/")
OIDC_NAME = env.str("OIDC_NAME", "OpenID Connect")
SIGNUP_URL = env.str("SIGNUP_URL", "")
ATTRIBUTION_WINDOW_DAYS = env.int("ATTRIBUTION_WINDOW_DAYS", 30, validate=must.Range(0, 365))
CLAIM_WINDOW_HOURS = env.int("CLAIM_WINDOW_HOURS", 72, validate=must.Range(0, 24 * 365))
REQUIRE_EMAIL_VERIFICATION = env.bool("REQUIRE_EMAIL_VERIFICATION", False)
REGISTRATION_REVEALS_ACCOUNTS = env.bool("REGISTRATION_REVEALS_ACCOUNTS", True)
MAIL_RETENTION_DAYS = env.int("MAIL_RETENTION_DAYS", 30, validate=at_least_or_for_ever(7))
AUDIT_RETENTION_DAYS = env.int("AUDIT_RETENTION_DAYS", 365, validate=at_least_or_for_ever(90))
CLICK_RETENTION_DAYS = env.int("CLICK_RETENTION_DAYS", 30, validate=at_least_or_for_ever(1))
THROTTLE_MAIL_MAILBOX = env.limits("THROTTLE_MAIL_MAILBOX", "3/hour,10/day")
THROTTLE_MAIL_CLIENT = env.limits("THROTTLE_MAIL_CLIENT", "20/hour")
THROTTLE_SIGN_IN = env.limits("THROTTLE_SIGN_IN", "10/15minute")
THROTTLE_SIGN_IN_ACCOUNT = env.limits("THROTTLE_SIGN_IN_ACCOUNT", "20/day")
THROTTLE_SIGN_IN_CLIENT = env.limits("THROTTLE_SIGN_IN_CLIENT", "100/hour")
THROTTLE_SIGN_UP = env.limits("THROTTLE_SIGN_UP", "300/hour")
THROTTLE_CODE_CHECK = env.limits("THROTTLE_CODE_CHECK", "20/minute,200/day")
THROTTLE_LOOKUP = env.limits("THROTTLE_LOOKUP", "300/hour")
THROTTLE_EXPORT = env.limits("THROTTLE_EXPORT", "10/hour")

_unreadable: Any = {}
try:
    env.seal()
except EnvValidationError as error:
    _unreadable = error.error_messages


PRODUCTION = PUBLIC_URL.startswith("https://")
EMBEDDED = not DATABASE_URL
if EMBEDDED and not (_unreadable or _env_file_problem) and not (SECRET_KEY and JWT_SIGNING_KEY):
    _given = {"SECRET_KEY": SECRET_KEY, "JWT_SIGNING_KEY": JWT_SIGNING_KEY}
    try:
        _made_up = make_up_secrets(ENV_FILE, [name for name, value in _given.items() if not value])
    except OSError:
        _env_file_problem = "ENV_FILE: cannot be written, and so keep the secrets that would be made up."
    else:
        SECRET_KEY, JWT_SIGNING_KEY = (_made_up.get(name, value) for name, value in _given.items())

_social_keys = {
    "google": (GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET),
    "github": (GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET),
    "yandex": (YANDEX_CLIENT_ID, YANDEX_CLIENT_SECRET),
    "vk": (VK_CLIENT_ID, VK_CLIENT_SECRET),
    "oidc": (OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_ISSUER),
}

_can_be_made_up = EMBEDDED and bool(_unreadable or _env_file_problem)
_postgres = _database is not None and is_postgres(_database)
_mail_has_a_way = bool(EMAIL_HOST or EMAIL_PROVIDER or os.environ.get("EMAIL_FILE_PATH"))
_refusals = [
    (
        not _postgres and sqlite3.sqlite_version_info < (3, 35),
        f"DATABASE_URL: PostgreSQL, since the SQLite of this Python is {sqlite3.sqlite_version}, and 3.35 is needed.",
    ),
    *((any(keys) and not all(keys), f"{name.upper()}_*: all of them, or none.") for name, keys in _social_keys.items()),
    *(
        (not VISIBLE.fullmatch(value), f"{name.upper()}_*: visible characters of ASCII.")
        for name, keys in _social_keys.items()
        for value in keys[:2]
    ),
    (
        any(map(any, _social_keys.values())) and not OAUTH_REDIRECT_URIS,
        "OAUTH_REDIRECT_URIS: needed as soon as there is a provider.",
    ),
    (len(SECRET_KEY) < 50 and bool(SECRET_KEY or not _can_be_made_up), "SECRET_KEY: needs 50 characters or more."),
    (any(len(key) < 50 for key in SECRET_KEY_FALLBACKS), "SECRET_KEY_FALLBACKS: each needs 50 characters or more."),
    (
        len(JWT_SIGNING_KEY) < 32 and bool(JWT_SIGNING_KEY or not _can_be_made_up),
        "JWT_SIGNING_KEY: needs 32 characters or more.",
    ),
    (0 < len(JWT_PREVIOUS_KEY) < 32, "JWT_PREVIOUS_KEY: needs 32 characters or more."),
    (len(JWT_SIGNING_KEY) >= 32 and not is_signing_key(JWT_SIGNING_KEY), "JWT_SIGNING_KEY: no key of SSH or RSA."),
    (len(JWT_PREVIOUS_KEY) >= 32 and not is_signing_key(JWT_PREVIOUS_KEY), "JWT_PREVIOUS_KEY: no key of SSH or RSA."),
    (bool(SECRET_KEY) and JWT_SIGNING_KEY == SECRET_KEY, "JWT_SIGNING_KEY: must not be the same as SECRET_KEY."),
    (
        _database is not None and not is_database(_database),
        "DATABASE_URL: like postgres://user:password@host:5432/name; or sqlite:/// and a file in a folder there is.",
    ),
    (
        _replica is not None and not (is_postgres(_replica) and is_database(_replica)),
        "DATABASE_REPLICA_URL: like postgres://user:password@host:5432/name.",
    ),
    (
        bool(DATABASE_REPLICA_URL) and not (_postgres and REDIS_URL),
        "DATABASE_REPLICA_URL: only with DATABASE_URL of PostgreSQL, and REDIS_URL, which keeps who has just written.",
    ),
    (PGBOUNCER and not _postgres, "PGBOUNCER: needs a PostgreSQL in DATABASE_URL."),
    (DEBUG and (PRODUCTION or _postgres), "DEBUG: not with PostgreSQL or an https:// address, it shows secrets."),
    (not is_address(HOST), "HOST: the address to listen at, like 127.0.0.1."),
    (bool(PUBLIC_URL) and not is_origin(PUBLIC_URL), "PUBLIC_URL: like https://refer.example.com."),
    (not all(map(is_host_pattern, ALLOWED_HOSTS)), "ALLOWED_HOSTS: names like refer.example.com, with commas between."),
    (not all(map(is_origin, CORS_ORIGINS)), "CORS_ORIGINS: like https://app.example.com, with commas between."),
    (
        any(proxies.prefixlen == 0 for proxies in TRUSTED_PROXIES or ()),
        "TRUSTED_PROXIES: not everybody, who could then pretend to be anybody.",
    ),
    (bool(OIDC_ISSUER) and not is_url(OIDC_ISSUER, "http", "https"), "OIDC_ISSUER: like https://id.example.com."),
    (
        not all(is_url(uri, "http", "https") for uri in OAUTH_REDIRECT_URIS),
        "OAUTH_REDIRECT_URIS: like https://app.example.com/back, with commas between.",
    ),
    (bool(SIGNUP_URL) and not is_url(SIGNUP_URL, "http", "https"), "SIGNUP_URL: like https://app.example.com/join."),
    (bool(REDIS_URL) and not is_redis(REDIS_URL), "REDIS_URL: like redis://host:6379/0."),
    (bool(EMAIL_HOST) and not is_host(EMAIL_HOST), "EMAIL_HOST: the name of an SMTP server."),
    (not VISIBLE.fullmatch(EMAIL_HOST_USER), "EMAIL_HOST_USER: visible characters of ASCII."),
    (not VISIBLE.fullmatch(EMAIL_HOST_PASSWORD), "EMAIL_HOST_PASSWORD: visible characters of ASCII."),
    (bool(EMAIL_PROVIDER and EMAIL_HOST), "EMAIL_PROVIDER, EMAIL_HOST: at most one of them."),
    (0 < len(METRICS_TOKEN) < 16, "METRICS_TOKEN: needs 16 characters or more."),
    (bool(SENTRY_DSN) and not sentry.is_dsn(SENTRY_DSN), "SENTRY_DSN: like https://key@sentry.example.com/1."),
    (EMAIL_USE_TLS and EMAIL_USE_SSL, "EMAIL_USE_TLS, EMAIL_USE_SSL: at most one of them."),
    (not is_sender(DEFAULT_FROM_EMAIL), "DEFAULT_FROM_EMAIL: like Referrals <refer@example.com>."),
    (not is_folder_to_be(BASE_DIR / EMAIL_FILE_PATH), "EMAIL_FILE_PATH: a folder."),
]
_refusals_in_production = [
    (is_guessable(SECRET_KEY), "SECRET_KEY: made up by a person or copied from somewhere; take a random one."),
    (
        any(map(is_guessable, SECRET_KEY_FALLBACKS)),
        "SECRET_KEY_FALLBACKS: made up by a person or copied from somewhere; such a key opens everything.",
    ),
    (
        is_guessable(JWT_SIGNING_KEY),
        "JWT_SIGNING_KEY: made up by a person or copied from somewhere; take a random one.",
    ),
    (
        is_guessable(JWT_PREVIOUS_KEY),
        "JWT_PREVIOUS_KEY: made up by a person or copied from somewhere; such a key opens everything.",
    ),
    (not TRUSTED_PROXIES, "TRUSTED_PROXIES: the address of the proxy that does TLS; nobody else is believed about it."),
    (
        bool(REDIS_URL) and not _postgres,
        "DATABASE_URL: PostgreSQL, where there is a Redis: machines cannot share an SQLite file.",
    ),
    (
        not _mail_has_a_way,
        "EMAIL_HOST: it or EMAIL_PROVIDER, a way for mails to people; or name the folder for them in EMAIL_FILE_PATH.",
    ),
    (
        _mail_has_a_way and DEFAULT_FROM_EMAIL.rstrip(">").endswith("@localhost"),
        "DEFAULT_FROM_EMAIL: an address of yours, to which people can answer.",
    ),
    (
        any(map(is_clear_text, OAUTH_REDIRECT_URIS)),
        "OAUTH_REDIRECT_URIS: https://, but for what is on the person's own machine.",
    ),
    (any(map(is_clear_text, CORS_ORIGINS)), "CORS_ORIGINS: https://, but for what is on the person's own machine."),
    (is_clear_text(SIGNUP_URL), "SIGNUP_URL: https://, but for what is on the person's own machine."),
]
if PRODUCTION:
    _refusals += _refusals_in_production
_problems = [f"{name}: {' '.join(texts)}" for name, texts in _unreadable.items()]
_problems += [_env_file_problem] if _env_file_problem else []
_problems += [text for refused, text in _refusals if refused]
if _problems:
    raise SystemExit("\n  ".join(["The service does not start: settings are wrong.", *_problems]))

if not REGISTRATION_REVEALS_ACCOUNTS:  # signing in right after signing up would tell whether the address was free
    REQUIRE_EMAIL_VERIFICATION = True

# --- Where it is reached -------------------------------------------------------------------------

if not PUBLIC_URL:
    _host = "127.0.0.1" if HOST in ("0.0.0.0", "::") else f"[{HOST}]" if ":" in HOST else HOST  # noqa: S104 (not bound)
    PUBLIC_URL = f"http://{_host}:{PORT}"
ALLOWED_HOSTS = [*ALLOWED_HOSTS, "localhost", "127.0.0.1", "[::1]", urlsplit(PUBLIC_URL).hostname or ""]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
PROBES = ("/healthz", "/readyz", "/metrics")  # asked at the port itself, by whatever name and without TLS
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
CSRF_FAILURE_VIEW = "config.api.problems.csrf_failure"

# --- What it is made of --------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # before the admin, whose templates it takes the place of; the site is ours
    "users.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "djoser",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "social_django",
    "corsheaders",
    "csp",
    "users",
    "referrals",
]

MIDDLEWARE = [
    "config.api.context.RequestContextMiddleware",
    "config.api.observation.ObservationMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.pages.PolicyMiddleware",
    "config.api.door.DoorMiddleware",
    *(["corsheaders.middleware.CorsMiddleware"] if CORS_ORIGINS else []),
    "config.pages.FilesMiddleware",
    "config.pages.SessionMiddleware",
    "config.api.middleware.LanguageMiddleware",
    *(["config.api.replica.OwnWritesMiddleware"] if DATABASE_REPLICA_URL else []),
    "config.api.middleware.ApiGateMiddleware",
    "config.pages.NoNulMiddleware",
    "config.api.middleware.RedirectOnlyReadsMiddleware",
    "config.pages.CsrfMiddleware",
    "config.pages.AccountMiddleware",
    "config.pages.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- What browsers are told ------------------------------------------------------------------------

SECURE_HSTS_SECONDS = 365 * 86400 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SILENCED_SYSTEM_CHECKS = [
    "security.W003",  # CsrfViewMiddleware by that name: ours is one
    "security.W008",  # SECURE_SSL_REDIRECT: our door redirects pages, and refuses what comes to the API in the clear
    "security.W021",  # SECURE_HSTS_PRELOAD: a list inside of browsers, which only the owner of the domain can ask for
]

# Packaged pages that need more say so in `config.docs`.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

UNFOLD = {"DASHBOARD_CALLBACK": "referrals.cards.show_overview"}

CORS_ALLOWED_ORIGINS = CORS_ORIGINS
CORS_URLS_REGEX = "|".join(f"^{prefix}" for prefix in API_PREFIXES)
CORS_ALLOW_HEADERS = default_headers
CORS_EXPOSE_HEADERS = ["Retry-After", "X-Request-ID"]

# `__Host-` makes browsers take a cookie from this very host only, over TLS: draft-ietf-httpbis-rfc6265bis, 4.1.3.2.
_prefix = "__Host-" if PRODUCTION else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{_prefix}sessionid", f"{_prefix}csrftoken"
REFERRAL_COOKIE_NAME = f"{_prefix}referral"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
CSRF_COOKIE_HTTPONLY = True  # forms hold the token too, and no script of ours asks for it
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # no cookie of its own

# --- Data ----------------------------------------------------------------------------------------

DATABASES: dict[str, Any] = {"default": {**_database, "CONN_HEALTH_CHECKS": True}}
if DATABASE_REPLICA_URL:  # which `config.api.replica` alone reads, and only where it is told to
    DATABASES["replica"] = {**_replica, "CONN_HEALTH_CHECKS": True}
if _database["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # A writer takes its place in the queue at BEGIN and waits there, instead of failing half-way.
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    for _given in DATABASES.values():
        _given |= {
            "CONN_MAX_AGE": 600,
            "DISABLE_SERVER_SIDE_CURSORS": PGBOUNCER,
            "OPTIONS": {
                # Planning is most of what a small query costs: one that comes again is prepared, where sessions last.
                "server_side_binding": True,
                "prepare_threshold": None if PGBOUNCER else 5,
                **_given.get("OPTIONS", {}),
            },
        }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_CACHE: dict[str, Any] = {
    "BACKEND": "config.redis_cache.RedisCache",
    "LOCATION": [REDIS_URL],  # a list: in a text, a comma would part two servers
    "KEY_PREFIX": "referral_service",
    "OPTIONS": {
        "serializer": json,  # a pickle would run what others write to Redis
        "socket_connect_timeout": 0.5,  # seconds: what is not there at once is not worth waiting for
        "socket_timeout": 0.5,
        # A connection that ended since it was last used is made anew; who does not answer in time is not asked again.
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    },
}
CACHES = {"default": REDIS_CACHE if REDIS_URL else {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}

# --- Words and time ------------------------------------------------------------------------------

LANGUAGES = [("en", _("English")), ("ru", _("Russian"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- Files ---------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "config" / "static"]
WHITENOISE_ALLOW_ALL_ORIGINS = False
WHITENOISE_USE_FINDERS = True  # serves the packages' own files, so that nobody has to collect them first

# --- Who someone is ------------------------------------------------------------------------------

AUTH_USER_MODEL = "users.User"
SOCIAL_PROVIDERS = {
    "google": "users.providers.Google",
    "github": "users.providers.GitHub",
    "yandex": "users.providers.Yandex",
    "vk": "users.providers.VK",
    "oidc": "users.providers.Oidc",
}
SOCIAL_PROVIDERS = {name: backend for name, backend in SOCIAL_PROVIDERS.items() if all(_social_keys[name])}
SOCIAL_AUTH_GOOGLE_KEY, SOCIAL_AUTH_GOOGLE_SECRET = _social_keys["google"]
SOCIAL_AUTH_GOOGLE_ID_KEY = "sub"
SOCIAL_AUTH_GITHUB_KEY, SOCIAL_AUTH_GITHUB_SECRET = _social_keys["github"]
SOCIAL_AUTH_YANDEX_KEY, SOCIAL_AUTH_YANDEX_SECRET = _social_keys["yandex"]
SOCIAL_AUTH_VK_KEY, SOCIAL_AUTH_VK_SECRET = _social_keys["vk"]
SOCIAL_AUTH_OIDC_KEY, SOCIAL_AUTH_OIDC_SECRET, SOCIAL_AUTH_OIDC_OIDC_ENDPOINT = _social_keys["oidc"]
SOCIAL_AUTH_STATE_LIFETIME = 600  # seconds between leaving for the provider and coming back
SOCIAL_AUTH_REQUESTS_TIMEOUT = 4  # seconds for each of two or three calls
SOCIAL_AUTH_PIPELINE = [  # no step stores a provider's tokens
    "social_core.pipeline.social_auth.social_details",
    "social_core.pipeline.social_auth.social_uid",
    "social_core.pipeline.social_auth.auth_allowed",
    "social_core.pipeline.social_auth.social_user",
    "referrals.social.open_account",
    "social_core.pipeline.social_auth.associate_user",
    "users.social.tell_of_a_new_link",
]

AUTHENTICATION_BACKENDS = ["users.backends.EmailOrUsernameBackend", *SOCIAL_PROVIDERS.values()]
PASSWORD_HASHERS = [
    "users.hashers.Argon2idHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "users.validators.MaximumLengthValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ["email", "username"]},
    },
    {"NAME": "users.validators.NoNamesValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"

ACTIVATION_LIFETIME = timedelta(hours=24)
PASSWORD_RESET_LIFETIME = timedelta(hours=1)
EMAIL_CHANGE_LIFETIME = timedelta(hours=24)
EMAIL_UNDO_LIFETIME = timedelta(days=7)

DJOSER: dict[str, Any] = {
    "TOKEN_MODEL": None,
    "SERIALIZERS": {
        "user_create": "referrals.serializers.SignUpSerializer",
        "user": "referrals.serializers.AccountSerializer",
        "export": "referrals.serializers.ExportSerializer",
        "user_delete": "users.serializers.CloseAccountSerializer",
        "activation": "users.serializers.ActivationSerializer",
        "provider_auth": "referrals.serializers.SignedInSerializer",
        "provider_start": "referrals.serializers.ProviderStartSerializer",
        "set_password": "users.serializers.SetPasswordSerializer",
        "password_reset": "users.serializers.AddressSerializer",
        "password_reset_confirm": "users.serializers.PasswordResetConfirmSerializer",
    },
    "PERMISSIONS": {"set_password": ["rest_framework.permissions.IsAuthenticated"]},
}

REFRESH_FAMILY_LIFETIME = timedelta(days=90)
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
    "ALGORITHM": "HS256",
    "SIGNING_KEY": JWT_SIGNING_KEY,
    "ISSUER": PUBLIC_URL,
    "AUDIENCE": PUBLIC_URL,
    "USER_ID_CLAIM": "sub",
    "TOKEN_TYPE_CLAIM": "typ",
    "AUTH_TOKEN_CLASSES": ["users.tokens.AccessToken"],
    "TOKEN_OBTAIN_SERIALIZER": "users.serializers.LogInSerializer",
    "TOKEN_REFRESH_SERIALIZER": "users.serializers.RefreshSerializer",
    "TOKEN_VERIFY_SERIALIZER": "users.serializers.VerifySerializer",
    "TOKEN_BLACKLIST_SERIALIZER": "users.serializers.LogOutSerializer",
}

# --- The API -------------------------------------------------------------------------------------

API_BODY_LIMIT = 64 * 1024  # bytes

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["users.tokens.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": [
        "config.api.parsers.JSONParser",
        "config.api.parsers.FormParser",
        "config.api.parsers.MultiPartParser",
    ],
    "DEFAULT_RENDERER_CLASSES": ["config.api.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "config.api.renderers.Negotiation",
    "DEFAULT_PAGINATION_CLASS": "config.api.pagination.NewestFirst",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "config.api.schema.Operation",
    "EXCEPTION_HANDLER": "config.api.problems.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Referral service",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.0.3",
    "DESCRIPTION": (BASE_DIR / "config" / "api" / "introduction.md").read_text(encoding="utf-8"),
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    "SERVERS": [{"url": "/", "description": "This server"}],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SCHEMA_PATH_PREFIX": "/",
    "DEFAULT_GENERATOR_CLASS": "config.api.schema.Generator",
    "COMPONENT_SPLIT_REQUEST": True,
    "SORT_OPERATIONS": False,
    "PARSER_WHITELIST": ["config.api.parsers.JSONParser"],  # of several formats, generated clients send all at once
    "POSTPROCESSING_HOOKS": ["config.api.schema.finish"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False, "validatorUrl": None},
    "REDOC_DIST": "SIDECAR",
}

# --- E-mail and tasks ----------------------------------------------------------------------------

EMAIL_BACKEND = "users.mail.QueueBackend"  # a message becomes a row; the task delivers it by the next line
if EMAIL_PROVIDER:
    EMAIL_DELIVERY_BACKEND = f"anymail.backends.{EMAIL_PROVIDER}.EmailBackend"
else:
    EMAIL_DELIVERY_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'filebased'}.EmailBackend"
EMAIL_FILE_PATH = str(BASE_DIR / EMAIL_FILE_PATH)
ANYMAIL |= {"REQUESTS_TIMEOUT": EMAIL_TIMEOUT, "DEBUG_API_REQUESTS": False}  # the latter prints keys and links

# The row in the database is the truth: a task that is lost, or done twice, does no harm. See `users.tasks`.
CELERY_BROKER_URL = REDIS_URL or "memory://localhost/"
CELERY_TASK_ALWAYS_EAGER = not REDIS_URL
CELERY_TASK_DEFAULT_QUEUE = "referral_service"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True  # nor goes in circles: the mail over which it died is left alone for a while
CELERY_TASK_SOFT_TIME_LIMIT = 8 * 60  # seconds; the longest run that is in order takes 7 minutes
CELERY_TASK_TIME_LIMIT = 9 * 60
CELERY_TASK_PUBLISH_RETRY = False  # the row waits in the database; a request does not wait for a broker
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for ever
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
    "socket_keepalive": True,
    "max_retries": 0,
    "visibility_timeout": 15 * 60,  # seconds: more than any task may take, else it is handed out twice
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1  # who waits for a mail server keeps no work from the others
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 256 * 1024  # KiB
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10  # seconds that a run has to end, before another worker gets it
# To cancel would be to break off a mail half-way, which then comes twice. A run that goes on is at worst done again.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"  # keeps no file
CELERY_BEAT_SCHEDULE = {
    "deliver": {"task": "users.tasks.deliver_waiting_mail", "schedule": crontab(), "options": {"expires": 60}},
    "delete": {
        "task": "users.tasks.delete_what_is_over",
        "schedule": crontab(minute="*/10"),
        "options": {"expires": 600},
    },
}

# --- Log lines -----------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"context": {"()": "config.api.context.ContextFilter"}},
    "formatters": {"line": {"()": f"config.logs.{LOG_FORMAT.capitalize()}Lines"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["context"]}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.request": {"level": "ERROR"},
        "django.server": {"handlers": [], "level": "WARNING", "propagate": True},  # `access` says it
        "_granian": {"handlers": [], "level": "INFO", "propagate": True},
    },
}
logging.captureWarnings(True)  # what Python warns of is a line like all others
if SENTRY_DSN:
    sentry.start(SENTRY_DSN)
