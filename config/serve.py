"""`python -m config.serve`: the server for production, with the settings of this service."""

import gc
import logging
import os
import signal
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.connection import wait
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import django
from granian import Granian
from granian.constants import Interfaces

from config.pool import use_pool

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

ADDRESSES = {"/": "what this is", "/redoc/": "the API, to read", "/swagger/": "the API, to try", "/admin/": "for staff"}
GRACE = 30  # seconds that requests in progress have to end once the server is told to stop


def main() -> None:
    """Serve until a signal says stop. What the processes count is in files that go with them."""
    from django.conf import settings

    if not settings.METRICS_TOKEN:
        serve()
        return
    with TemporaryDirectory(prefix="referral-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # before what counts is imported
        serve()


def serve() -> None:
    """The addresses are printed once the port is taken."""
    django.setup()
    from django.conf import settings

    import_module(settings.ROOT_URLCONF)  # all code that there is, once for all workers
    gc.collect()
    gc.freeze()  # else their collectors would write to each object, and so make copies of all pages

    server = Granian(
        "config.wsgi:application",
        address=settings.HOST,
        port=settings.PORT,
        interface=Interfaces.WSGI,
        workers=settings.WEB_WORKERS,
        blocking_threads=settings.WEB_THREADS,
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE,
        log_access=False,
        log_dictconfig=settings.LOGGING,
        websockets=False,
    )

    @server.on_startup
    def print_addresses() -> None:
        if settings.LOG_FORMAT != "text":
            return
        width = max(len(settings.PUBLIC_URL + path) for path in ADDRESSES)
        for path, what in ADDRESSES.items():
            print(f"  {settings.PUBLIC_URL + path:<{width}}  {what}", flush=True)

    def load_application() -> Any:
        """What a worker serves. From the fork until here it has its parent's handlers, which only take a note.

        Without this, a worker told to stop while it loads would serve on, and its parent wait for it.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        if server.interrupt_signal:
            raise SystemExit
        Thread(target=_stop_with_parent, daemon=True).start()
        use_pool()
        try:
            from config.celery import wait_briefly_for_the_broker
            from config.wsgi import application

            wait_briefly_for_the_broker()
        except Exception:
            logging.exception("the service cannot be loaded")  # as a line like all others
            raise SystemExit(1) from None
        return application

    server.serve(target_loader=load_application, wrap_loader=False)


def _stop_with_parent() -> None:
    """Stop this worker when its parent is gone: it would go on to take requests beside the workers of the next one."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
