"""The settings of the tests: those of the service without anybody's `.env`, and without what only slows tests down."""

import os
import tempfile

from config.tests.live import NO_LIMITS

os.environ |= {"ENV_FILE": os.devnull} | NO_LIMITS
os.environ |= {
    "OAUTH_REDIRECT_URIS": "https://app.example.com/back",
    "OIDC_ISSUER": "http://127.0.0.1:9",  # where nobody answers, until a test says otherwise
    "OIDC_CLIENT_ID": "referral",
    "OIDC_CLIENT_SECRET": "only-for-tests",
    "GITHUB_CLIENT_ID": "referral",
    "GITHUB_CLIENT_SECRET": "only-for-tests",
}
os.environ.setdefault("SECRET_KEY", "only-for-tests-" * 5)
os.environ.setdefault("JWT_SIGNING_KEY", "only-for-tests-of-tokens-" * 3)

from config.settings import *  # noqa: F403 (all of them; below is what differs)

INSTALLED_APPS = [*INSTALLED_APPS, "django_migration_linter"]  # noqa: F405 (comes with the star)
EMAIL_FILE_PATH = f"{tempfile.gettempdir()}/sent_emails_of_tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
