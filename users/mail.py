"""How a mail reaches a person: made of a template, kept as a row, delivered by a task.

A message sent by Django's mail API inside a transaction is part of it: it goes out if and when the rest is committed.
"""

from collections.abc import Callable, Sequence
from email.utils import make_msgid
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.utils import translation
from django.utils.html import escape
from djoser.email import BaseEmailMessage
from djoser.utils import encode_uid

from users.models import MailRequest, OutgoingEmail, User
from users.tasks import deliver_requested_mail_soon, deliver_waiting_mail_soon
from users.tokens import ACTIVATION, EMAIL_UNDO, PASSWORD_RESET


class QueueBackend(BaseEmailBackend):
    """Stores each message as a row and asks for its delivery after the commit."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            as_row(message).insert()
        transaction.on_commit(deliver_waiting_mail_soon)
        return len(email_messages)


def as_row(message: EmailMessage) -> OutgoingEmail:
    to, reader = ", ".join(message.recipients()), getattr(message, "reader", None)
    return OutgoingEmail(to=to, reader=reader, subject=message.subject[:255], message=_stored(message))


def _stored(message: EmailMessage) -> dict[str, Any]:
    if message.attachments or message.content_subtype != "plain":
        raise ValueError("Mails of this service are text, with HTML beside it, and carry no attachments.")
    kept = ("subject", "body", "from_email", "to", "cc", "bcc", "reply_to")
    alternatives = getattr(message, "alternatives", [])
    # The same at every try, so that a mailbox can tell a mail that comes twice.
    message_id = make_msgid(domain=urlsplit(settings.PUBLIC_URL).hostname)
    return {name: getattr(message, name) for name in kept} | {
        "extra_headers": {"Message-ID": message_id} | message.extra_headers,
        "alternatives": [[str(content), mimetype] for content, mimetype in alternatives],
    }


class Email(BaseEmailMessage):
    """A mail in its reader's language; its template has the blocks subject, text_body and html_body."""

    def __init__(self, reader: User, **context: Any) -> None:
        super().__init__(context={"reader": reader, "public_url": settings.PUBLIC_URL, **context})
        self.reader = reader

    def queue(self, to: str | None = None) -> None:
        """Send it to the reader's own address, or to `to`. An account without an address gets nothing."""
        address = to or self.reader.email
        if address:
            with translation.override(self.reader.language):
                self.send([address])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return self.context


def queue_for_whoever_has(email: str, compose: Callable[..., None], **arguments: Any) -> None:
    """Have `compose(email, **arguments)` queue a mail, if there is anybody to get it, once the request is answered.

    So the answer takes the same time whether there is or not.
    """
    MailRequest.objects.create(compose=f"{compose.__module__}.{compose.__qualname__}", email=email, arguments=arguments)
    transaction.on_commit(deliver_requested_mail_soon)


def link_to(page: str, user: User, token: str) -> str:
    return f"{settings.PUBLIC_URL}/account/{page}/{encode_uid(user.pk)}/{token}/"


class ActivationEmail(Email):
    """Every sign-up has one. To who is not called by name, all but the link is the same: so it is rendered once."""

    template_name = "email/activation.html"

    def __init__(self, user: User) -> None:
        super().__init__(user, url=link_to("activate", user, ACTIVATION.make(user)))

    def render(self) -> None:
        if self.reader.email_verified:
            super().render()
            return
        self.subject, body, html = _rendered(self.template_name, self.reader.language, settings.PUBLIC_URL)
        self.body = body.replace(LINK, self.context["url"])
        self.attach_alternative(html.replace(LINK, escape(self.context["url"])), "text/html")


LINK = "https://link.invalid/"


@lru_cache
def _rendered(template_name: str, language: str, public_url: str) -> tuple[str, str, str]:
    """Subject, text and HTML of a mail to an address that is not proved, with LINK in the place of its link."""
    mail = Email(User(language=language), url=LINK)
    mail.template_name = template_name
    with translation.override(language):
        mail.render()
    return mail.subject, mail.body, mail.html


def send_activation(email: str) -> None:
    """The link that proves an address, to who has not proved it yet."""
    user = User.objects.filter(email=email, is_active=True, email_verified_at=None).first()
    if user:
        ActivationEmail(user).queue()


class AlreadyRegisteredEmail(Email):
    """To the owner of an address with which somebody signed up again."""

    template_name = "email/already_registered.html"


class PasswordResetEmail(Email):
    template_name = "email/password_reset.html"

    def __init__(self, user: User) -> None:
        super().__init__(user, url=link_to("reset-password", user, PASSWORD_RESET.make(user)))


def send_password_reset(email: str) -> None:
    user = User.objects.filter(email=email, is_active=True).first()
    if user:
        PasswordResetEmail(user).queue()


class PasswordChangedEmail(Email):
    template_name = "email/password_changed_confirmation.html"


class EmailChangeEmail(Email):
    """To the new address: the link that proves it. Any other than `to` never sees it."""

    template_name = "email/email_change.html"

    def __init__(self, user: User, token: str) -> None:
        super().__init__(user, url=link_to("change-email", user, token))


def send_email_change(email: str, user: int, token: str) -> None:
    """The link by which `user` takes this address, unless it has an account."""
    mover = User.objects.filter(pk=user, is_active=True).first()
    if mover and not User.objects.filter(email=email).exists():
        EmailChangeEmail(mover, token).queue(to=email)


class EmailChangeNotice(Email):
    """To the old address: somebody who got in wants to leave it.

    With the link that undoes it, done or not yet, if the address was proved: else the account was never its owner's.
    """

    template_name = "email/email_change_notice.html"

    def __init__(self, user: User) -> None:
        proved = user.email_verified
        super().__init__(user, url=proved and link_to("keep-email", user, EMAIL_UNDO.make(user, user.email or "")))


class NewLinkEmail(Email):
    """To the account's address: from now on it can be entered through `provider`, too."""

    template_name = "email/new_link.html"
