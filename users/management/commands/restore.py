from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from users.backup import KEPT_BACK, BackupError, restore
from users.models import OutgoingEmail


class Command(BaseCommand):
    help = "Puts a backup in the place of the database, all of it or nothing, and migrates it. Stop the service first."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--force", action="store_true", help="Replace a database that holds data.")

    def handle(self, *args: Any, file: Path, force: bool, **options: Any) -> None:
        try:
            restore(file, force=force)
        except BackupError as error:
            raise CommandError(str(error)) from None
        call_command("migrate", verbosity=0)
        kept_back = OutgoingEmail.objects.filter(last_error=KEPT_BACK, sent_at=None).count()
        self.stdout.write(
            f"Restored. Everybody has to sign in anew. {kept_back} mails that waited, and may have gone out since, "
            "are kept back in the admin."
        )
