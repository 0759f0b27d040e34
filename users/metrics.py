"""What the metrics tell of mail: that of all machines together, since nobody can ask a worker."""

from collections.abc import Iterator

from django.db import Error
from django.db.models import Count, Min, Model, QuerySet
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from config.api.metrics import ask_when_read
from users import counters
from users.errors import LimitsUnavailable
from users.models import MailRequest, OutgoingEmail

MOST = 10_000
"""How many waiting mails are counted. More are told as so many: who sees that many knows enough."""


def waiting_mail() -> Iterator[Metric]:
    depth = GaugeMetricFamily("referral_mail_queue_depth", f"Mails that wait, {MOST} at most", labels=["queue"])
    age = GaugeMetricFamily("referral_mail_queue_oldest_seconds", "Age of the oldest of them", labels=["queue"])
    queues: dict[str, QuerySet[Model]] = {
        "mails": OutgoingEmail.objects.filter(sent_at=None, failed_at=None).order_by("next_try_at"),
        "requests": MailRequest.objects.order_by("id"),
    }
    for name, queue in queues.items():
        found = queue[:MOST].aggregate(waiting=Count("pk"), oldest=Min("created_at"))
        depth.add_metric([name], found["waiting"])
        oldest = (timezone.now() - found["oldest"]).total_seconds() if found["oldest"] else 0
        age.add_metric([name], max(0, oldest))
    yield depth
    yield age


def tried_mail() -> Iterator[Metric]:
    mails = CounterMetricFamily("referral_mails", "Tries to deliver a mail, by what came of them", labels=["outcome"])
    for outcome in ("sent", "put off", "failed"):
        mails.add_metric([outcome.replace(" ", "_")], counters.ever(f"mails {outcome}"))
    yield mails


ask_when_read("database", Error, waiting_mail)
ask_when_read("counters", (LimitsUnavailable, Error), tried_mail)
