"""What is done after the answer, by a worker where there is one: waiting mail goes out, what is over goes away."""

import logging
import threading
from datetime import timedelta
from itertools import takewhile
from random import uniform
from smtplib import SMTPDataError, SMTPRecipientsRefused
from time import monotonic

from anymail.exceptions import AnymailRecipientsRefused
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError

from users import counters, retention
from users.deadlines import at_most
from users.models import MailRequest, OutgoingEmail

logger = logging.getLogger(__name__)

RUN_FOR = 240  # seconds after which a run begins no other mail; the time limits in the settings leave room for the last
SEND_FOR = 120  # seconds, and one more EMAIL_TIMEOUT for what is waited for then
TRY_FOR = timedelta(minutes=5)  # after which another sender takes over: longer than any try
LONGEST_PAUSE = timedelta(hours=6)
MOST_TRIES = 20  # about three days
MOST_REFUSALS = 3  # by a server that wants no such mail, for the few that take back what they said

PAUSE = 0.3  # seconds after which whoever asked has got an answer, which is not to wait for what is found out

_asked_for, _delivering = threading.Event(), threading.Lock()


def deliver_waiting_mail_soon() -> None:
    """Have the waiting mail delivered: by a worker, in this process where there is none.

    Files are written at once; what goes by the network gets a thread, since it may take its time. A broker that is away
    is no loss: the mail is a row, and whoever delivers next takes it along.
    """
    if settings.CELERY_TASK_ALWAYS_EAGER and (settings.EMAIL_HOST or settings.EMAIL_PROVIDER):
        _begin(threading.Thread(target=_deliver_in_thread))
    else:
        _hand_over()


def deliver_requested_mail_soon() -> None:
    """The same for mail of which the answer must not tell whether there is any: never before the answer."""
    if settings.CELERY_TASK_ALWAYS_EAGER:
        _begin(threading.Timer(PAUSE, _deliver_in_thread))
    else:
        _hand_over()


def _begin(thread: threading.Thread) -> None:
    """Start it, unless there is no room for another: what was stored is stored, and the mail goes with the next."""
    thread.daemon = True
    try:
        thread.start()
    except (MemoryError, RuntimeError):
        logger.warning("no thread can be started; mail waits in the database")


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
def delete_what_is_over() -> dict[str, int]:
    return retention.delete_what_is_over()


@shared_task
def deliver_waiting_mail(most: int = 100) -> int:
    """Answer what was asked for, then try each mail that is due, the oldest first, at most `most` of them.

    No run takes long: what it does not come to is left to a next one. Returns how many went out.
    """
    end = monotonic() + RUN_FOR
    for request in MailRequest.objects.order_by("id")[:most]:
        _answer(request)
    due = OutgoingEmail.objects.due().order_by("next_try_at")[:most]
    sent = sum(_deliver(mail) for mail in takewhile(lambda _mail: monotonic() < end, due))
    if OutgoingEmail.objects.due().exists():
        _asked_for.set()
        if not settings.CELERY_TASK_ALWAYS_EAGER:
            _hand_over()
    return sent


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
    if mail.tries > MOST_TRIES:  # so far each sender died over it
        if mail.note(failed_at=timezone.now()):
            counters.add_up("mails failed")
        return False
    try:
        with at_most(SEND_FOR):
            _message_of(mail).send()
    except Exception as error:
        logger.warning("mail %s was not delivered: %s", mail.pk, _name_of(error))
        _put_off(mail, error)
        if isinstance(error, SoftTimeLimitExceeded):
            raise
        return False
    if mail.note(sent_at=timezone.now(), message={}, last_error=""):
        counters.add_up("mails sent")
    else:
        logger.warning("mail %s was delivered; meanwhile it was deleted, or taken by another sender", mail.pk)
    return True


def _message_of(mail: OutgoingEmail) -> EmailMultiAlternatives:
    stored = dict(mail.message)
    return EmailMultiAlternatives(
        **{"headers": stored.pop("extra_headers")} | stored,
        connection=get_connection(settings.EMAIL_DELIVERY_BACKEND),
    )


def _put_off(mail: OutgoingEmail, error: Exception) -> None:
    """Wait about twice as long as before the last try, from one minute on; give up after some days.

    About: what failed together is not to come back together.
    """
    now = timezone.now()
    pause = min(LONGEST_PAUSE, timedelta(minutes=2 ** (mail.tries - 1)))
    given_up = mail.tries >= (MOST_REFUSALS if _is_refusal(error) else MOST_TRIES)
    noted = mail.note(
        last_error=_name_of(error),
        next_try_at=now + pause * uniform(0.5, 1.5),  # noqa: S311 (nobody gains by guessing it)
        failed_at=now if given_up else None,
    )
    if noted:
        counters.add_up("mails failed" if given_up else "mails put off")


def _is_refusal(error: Exception) -> bool:
    """Whether this very mail is wanted neither now nor later (RFC 5321, section 4.2.1).

    That we may not sign in or send at all is no such word: somebody will mend it.
    """
    if isinstance(error, SMTPRecipientsRefused | SMTPDataError):
        return (_status_of(error) or 0) >= 500
    return isinstance(error, AnymailRecipientsRefused)


def _name_of(error: Exception) -> str:
    """What went wrong, without its text, which may quote an address or a password."""
    return " ".join(str(part) for part in (type(error.__cause__ or error).__name__, _status_of(error)) if part)


def _status_of(error: Exception) -> int | None:
    """The number in the answer of the mail server or of the provider."""
    if isinstance(error, SMTPRecipientsRefused):
        return min(code for code, _words in error.recipients.values())
    return getattr(error, "smtp_code", None) or getattr(error, "status_code", None)
