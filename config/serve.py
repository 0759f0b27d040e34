"""`python -m config.serve`: the server for production, with the settings of this service."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

ADDRESSES = {"/": "what this is", "/redoc/": "the API, to read", "/swagger/": "the API, to try", "/admin/": "for staff"}


def main() -> None:
    """Serve until a signal says stop; the addresses are printed once the port is taken."""
    django.setup()
    from django.conf import settings
    from granian import Granian
    from granian.constants import Interfaces

    server = Granian(
        "config.wsgi:application",
        address=settings.HOST,
        port=settings.PORT,
        interface=Interfaces.WSGI,
        workers=settings.WEB_WORKERS,
        blocking_threads=settings.WEB_THREADS,
        respawn_failed_workers=True,
        log_access=False,
        websockets=False,
    )

    @server.on_startup
    def print_addresses() -> None:
        width = max(len(settings.PUBLIC_URL + path) for path in ADDRESSES)
        for path, what in ADDRESSES.items():
            print(f"  {settings.PUBLIC_URL + path:<{width}}  {what}", flush=True)

    server.serve()


if __name__ == "__main__":
    main()
