"""Make up the secrets that compose.yaml reads from secrets/, and leave those alone that are there.

The folder is closed to others; the files in it are not, since users of other numbers read them inside the containers.
"""

import secrets
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "secrets"


def make_secrets(folder: Path) -> list[str]:
    """Return the names of the files that were written."""
    folder.mkdir(mode=0o700, exist_ok=True)

    def value_of(name: str, made_up: str) -> str:
        file = folder / name
        if not file.exists():
            file.write_text(made_up, encoding="utf-8")
            file.chmod(0o644)
            written.append(name)
        return file.read_text(encoding="utf-8").strip()

    written: list[str] = []
    value_of("secret_key", secrets.token_urlsafe(48))
    value_of("jwt_signing_key", secrets.token_urlsafe(48))
    value_of("email_host_password", "")
    owner, app, redis = (value_of(f"{name}_password", secrets.token_urlsafe(32)) for name in ("owner", "app", "redis"))
    value_of("owner_database_url", f"postgres://owner:{owner}@postgres:5432/referrals")
    value_of("database_url", f"postgres://app:{app}@postgres:5432/referrals")
    value_of("redis_url", f"redis://:{redis}@redis:6379/0")
    return written


if __name__ == "__main__":
    print("Written in secrets/:", ", ".join(make_secrets(FOLDER)) or "nothing, all are there")
