from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from users.backup import BackupError, back_up


class Command(BaseCommand):
    help = "Copies the whole database, as it is at one moment, to a file that is not there yet. The service runs on."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            back_up(file)
        except BackupError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"The backup is in {file}, {file.stat().st_size} bytes. It holds all that the database does.")
