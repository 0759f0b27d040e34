"""F8 and F9: a mail server that refuses, hangs, or breaks off, end to end and under load."""

import time
from collections.abc import Callable
from statistics import median

import pytest

from faults.processes import until
from faults.shapes import Production
from users.models import OutgoingEmail
from users.tasks import MOST_TRIES

MOODS: dict[str, Callable[[Production], object]] = {
    "away": lambda shape: shape.to_mail_server.reset(),
    "silent": lambda shape: shape.to_mail_server.drop(),
    "not now": lambda shape: shape.mail_server.answers.update({"data.": "451 later"}),
    "never": lambda shape: shape.mail_server.answers.update({"data.": "554 never"}),
    "breaks off": lambda shape: shape.mail_server.answers.update({"data.": None}),
    "hangs": lambda shape: shape.mail_server.awake.clear(),
}


@pytest.fixture(autouse=True)
def _well_again(production: Production):
    yield
    well(production)


def well(shape: Production) -> None:
    shape.mail_server.be_well()
    shape.to_mail_server.heal()


@pytest.mark.parametrize("mood", MOODS)
def test_the_api_does_not_mind_a_mail_server_that_is_not_well_and_the_mail_goes_out_later(production, mood):
    """F8 F9"""
    load = production.load(mood.replace(" ", ""))
    MOODS[mood](production)
    with load.running(4):
        time.sleep(2.5)
    assert load.answers().keys().isdisjoint({503, None})
    times = sorted(seen.seconds for seen in load.seen if seen.call != "set_password")
    tried = OutgoingEmail.objects.filter(to__startswith=load.name, tries__gt=0, sent_at=None).count()
    well(production)
    production.check(load)
    production.check_mails(load)
    print(f"{mood}: half the answers within {median(times):.3f} s, all within {times[-1]:.3f}; {tried} mails put off")


def test_a_mail_that_is_refused_to_the_last_stays_where_staff_see_it(production):
    """F8"""
    load = production.load("dead")
    MOODS["never"](production)
    with load.running(1):
        mail = until(lambda: OutgoingEmail.objects.filter(to__startswith="dead").first())
    OutgoingEmail.objects.filter(pk=mail.pk).update(tries=MOST_TRIES - 1)

    def is_given_up() -> bool:
        production.hurry_mail()
        production.knock()
        time.sleep(0.5)
        return OutgoingEmail.objects.get(pk=mail.pk).failed_at is not None

    until(is_given_up)
    well(production)
    production.check(load)
    kept = OutgoingEmail.objects.get(pk=mail.pk)
    assert kept.message["to"] == [mail.to]
    assert kept.last_error
