from typing import Any

from django.core.management.base import BaseCommand

from users.retention import delete_what_is_over
from users.tasks import deliver_waiting_mail


class Command(BaseCommand):
    help = "Tries the mail that waits and deletes what is over. Where no beat and worker do it, have cron run this."

    def handle(self, *args: Any, **options: Any) -> None:
        delivered = deliver_waiting_mail()
        deleted = ", ".join(f"{rows} {name}" for name, rows in delete_what_is_over().items())
        self.stdout.write(f"Delivered {delivered} mails; deleted {deleted}.")
