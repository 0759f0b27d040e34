"""What the fault tests stand on: the two shapes of the service, each started once."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.tests.at_once import models_at
from faults import shapes
from faults.postgres import Postgres
from faults.processes import until

CYCLES = int(os.environ.get("FAULT_CYCLES", "1"))
"""How often each fault strikes."""


@pytest.fixture(autouse=True)
def _on_the_models(django_db_blocker: Any, settings: Any) -> Iterator[None]:
    settings.PASSWORD_HASHERS = ["users.hashers.Argon2idHasher"]
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="faults_") as folder:
        postgres = Postgres(Path(folder))
        yield postgres
        postgres.stop()


@pytest.fixture(scope="session")
def running_production(postgres: Postgres, django_db_blocker: Any) -> Iterator[shapes.Production]:
    with django_db_blocker.unblock(), shapes.production(postgres) as shape:
        yield shape


@pytest.fixture(scope="session")
def running_embedded(django_db_blocker: Any) -> Iterator[shapes.Embedded]:
    with django_db_blocker.unblock(), shapes.embedded() as shape:
        yield shape


@pytest.fixture
def production(running_production: shapes.Production) -> Iterator[shapes.Production]:
    """The service as it is in production; the models are at its database."""
    until(running_production.is_ready)  # after what others did to the same PostgreSQL
    with models_at(running_production.service.database_url):
        yield running_production


@pytest.fixture
def embedded(running_embedded: shapes.Embedded) -> Iterator[shapes.Embedded]:
    """The service on SQLite; the models are at its database."""
    with models_at(running_embedded.service.database_url):
        yield running_embedded


@pytest.fixture(params=["embedded", "production"])
def shape(request: pytest.FixtureRequest) -> shapes.Shape:
    """That of the name given, or each of the two."""
    shape: shapes.Shape = request.getfixturevalue(request.param)
    return shape
