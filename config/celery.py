"""The Celery application; every setting of it is a CELERY_* name in `config.settings`."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("referral_service")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_log_lines(**signal: Any) -> None:
    """Celery leaves alone what somebody else has set up: Django has, by `LOGGING`."""


def wait_briefly_for_the_broker() -> None:
    """In a web process: a silent broker keeps a request for a second. What is not queued is found in its row."""
    app.conf.broker_transport_options = app.conf.broker_transport_options | {"socket_timeout": 1}
