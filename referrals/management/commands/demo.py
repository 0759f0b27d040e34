import secrets
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from referrals.demo import DAYS, DOMAIN, FEWEST, fill
from users.models import User

WIDTH = 40  # of the bar, in characters


class Command(BaseCommand):
    help = (
        f"Fills the database with a made-up program of the last {DAYS} days to try the service with, and says how to "
        "sign in. All of it is written, or nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--users", type=int, default=500, help=f"How many people, {FEWEST} or more.")
        parser.add_argument("--referrals", type=int, help="How many of them others brought: 70 of 100, if not said.")
        parser.add_argument("--seed", default="demo", help="Another word makes another program.")
        parser.add_argument("--force", action="store_true", help="Do so beside people who are not the demo's.")

    def handle(self, *args: Any, users: int, referrals: int | None, seed: str, force: bool, **options: Any) -> None:
        referrals = users * 7 // 10 if referrals is None else referrals
        if users < FEWEST or not 0 <= referrals <= users - 2:
            raise CommandError(f"--users: {FEWEST} or more; --referrals: not more than all but two of them.")
        strangers = User.objects.filter(closed_at=None).exclude(email__endswith=f"@{DOMAIN}").count()
        if strangers and not force:
            raise CommandError(
                f"This database holds {strangers} people who are not the demo's. Give an empty one in DATABASE_URL, or "
                "say --force to have the demo beside them: none of its rows can be deleted afterwards."
            )
        begin = time.monotonic()
        staff_password, password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
        try:
            made = fill(
                users=users,
                referrals=referrals,
                seed=seed,
                now=timezone.now(),
                staff_password=staff_password,
                password=password,
                progress=lambda number: self.show(number, users),
            )
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Nothing of it was kept.", returncode=130) from None
        self.stdout.write(f"In {time.monotonic() - begin:.0f} seconds these rows were written:")
        for name, rows in made.rows.items():
            self.stdout.write(f"  {name:24}{rows:>12,}")
        self.stdout.write(f"\nStaff, at {settings.PUBLIC_URL}/admin/:\n  {made.staff}  {staff_password}")
        self.stdout.write(f"\nPeople, for the API, each with the password {password}:")
        for email, what in made.people.items():
            self.stdout.write(f"  {email}  {what}")

    def show(self, number: int, users: int) -> None:
        """Draw how far it is, where somebody looks."""
        if self.stderr.isatty():
            bar = "#" * (WIDTH * number // users)
            end = "\n" if number == users else ""
            self.stderr.write(f"\r[{bar:-<{WIDTH}}] {number:,} of {users:,} people", style_func=str, ending=end)
