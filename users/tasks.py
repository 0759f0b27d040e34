"""Delivery of the waiting mail, after the answer, by a worker where there is one."""

import logging
import threading
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError

from users import counters
from users.models import MailRequest, OutgoingEmail

logger = logging.getLogger(__name__)

TRY_FOR = timedelta(minutes=2)  # how long one try may take before another sender takes over
LONGEST_PAUSE = timedelta(hours=6)
MOST_TRIES = 20  # about three days

PAUSE = 0.3  # seconds after which whoever asked has got an answer, which is not to wait for what is found out

_asked_for, _delivering = threading.Event(), threading.Lock()


def deliver_waiting_mail_soon() -> None:
    """Have the waiting mail delivered: by a worker, in this process where there is none.

    Files are written at once; a mail server gets a thread, since it may take its time. A broker that is away is no
    loss: the mail is a row, and whoever delivers next takes it along.
    """
    if settings.CELERY_TASK_ALWAYS_EAGER and settings.EMAIL_HOST:
        threading.Thread(target=_deliver_in_thread, daemon=True).start()
    else:
        _hand_over()


def deliver_requested_mail_soon() -> None:
    """The same for mail of which the answer must not tell whether there is any: never before the answer."""
    if settings.CELERY_TASK_ALWAYS_EAGER:
        timer = threading.Timer(PAUSE, _deliver_in_thread)
        timer.daemon = True
        timer.start()
    else:
        _hand_over()


def _hand_over() -> None:
    try:
        deliver_waiting_mail.delay()
    except OperationalError:
        logger.warning("the broker does not answer; mail waits in the database")


def _deliver_in_thread() -> None:
    """One thread of a process delivers, and takes along what the others come for.

    If each did, a mail server that hangs would use up the connections to the database.
    """
    _asked_for.set()
    while _asked_for.is_set() and _delivering.acquire(blocking=False):
        try:
            _asked_for.clear()
            deliver_waiting_mail()
        finally:
            _delivering.release()
            connection.close()


@shared_task
def deliver_waiting_mail(most: int = 100) -> int:
    """Answer what was asked for, then try each mail that is due, the oldest first, at most `most` of them.

    Returns how many went out.
    """
    for request in MailRequest.objects.order_by("id")[:most]:
        _answer(request)
    due = OutgoingEmail.objects.due().order_by("next_try_at")[:most]
    return sum(_deliver(mail) for mail in due)


def _answer(request: MailRequest) -> None:
    """Queue the mail that was asked for, if there is anybody to get it. Of two workers at it, one does.

    One that cannot be made is left for the next try, and keeps no other from going out.
    """
    try:
        with transaction.atomic():
            if MailRequest.objects.filter(pk=request.pk).delete()[0]:
                import_string(request.compose)(request.email, **request.arguments)
    except Exception as error:
        logger.error("mail request %s was not answered: %s", request.pk, type(error).__name__)


def _deliver(mail: OutgoingEmail) -> bool:
    if not mail.claim(until=timezone.now() + TRY_FOR):
        return False
    stored = dict(mail.message)
    message = EmailMultiAlternatives(
        **{"headers": stored.pop("extra_headers")} | stored,
        connection=get_connection(settings.EMAIL_DELIVERY_BACKEND),
    )
    try:
        message.send()
    except Exception as error:
        logger.warning("mail %s was not delivered: %s", mail.pk, type(error).__name__)
        _put_off(mail, error)
        return False
    counters.add_up("mails sent")
    _note(mail, sent_at=timezone.now(), message={}, last_error="")
    return True


def _put_off(mail: OutgoingEmail, error: Exception) -> None:
    """Wait twice as long as before the last try, from one minute on; give up after some days."""
    now, tries = timezone.now(), mail.tries + 1
    counters.add_up("mails failed" if tries >= MOST_TRIES else "mails put off")
    _note(
        mail,
        last_error=type(error).__name__,  # its text may quote an address or a password
        next_try_at=now + min(LONGEST_PAUSE, timedelta(minutes=2 ** (tries - 1))),
        failed_at=now if tries >= MOST_TRIES else None,
    )


def _note(mail: OutgoingEmail, **outcome: Any) -> None:
    """Write down what came of a try, unless the mail is gone: whoever closes an account takes its mail along."""
    OutgoingEmail.objects.filter(pk=mail.pk).update(**outcome)
