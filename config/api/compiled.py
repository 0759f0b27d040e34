"""Queries that are asked all the time: the ORM writes their SQL once. To write it is half of what such a call costs."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql import Query, UpdateQuery

Row = tuple[Any, ...]
Value = int | str | datetime
M = TypeVar("M", bound=models.Model)

ID, ANOTHER_ID = 2**62, 2**62 + 1
"""Stand-ins for ids: large enough to be nobody's."""


class _Written(NamedTuple):
    query: Query
    sql: str
    params: Row
    converters: Any


class _Compiled:
    """Something by a few values: `build(*stand_ins, *shape)` has each of the stand-ins in a condition, or as a value.

    The SQL is kept for each `shape`, which is all else that it depends on, like how many rows there may be.
    """

    def __init__(self, build: Callable[..., Any], *stand_ins: Value) -> None:
        self._build, self._stand_ins = build, stand_ins
        self._written = lru_cache(maxsize=256)(self._write)

    def _write(self, using: str, vendor: str, shape: Row) -> _Written:
        """`vendor` is that of the database, which tests change behind an alias."""
        raise NotImplementedError

    def _params(self, params: Row, values: tuple[Value, ...], connection: BaseDatabaseWrapper) -> list[Any]:
        given = {
            _adapted(stand_in, connection): _adapted(value, connection)
            for stand_in, value in zip(self._stand_ins, values, strict=True)
        }
        return [given.get(param, param) for param in params]


class CompiledQuery(_Compiled, Generic[M]):
    """What is read: `build` returns a queryset.

    `rows(7, shape=(20,))` are the rows for the value 7, and `objects(7)` those of a whole model as its instances.
    """

    def rows(self, *values: Value, shape: Row = (), using: str = DEFAULT_DB_ALIAS) -> list[Row]:
        connection = connections[using]
        query, sql, params, converters = self._written(using, connection.vendor, shape)
        with connection.cursor() as cursor:
            cursor.execute(sql, self._params(params, values, connection))
            rows: list[Row] = cursor.fetchall()
        if not converters:
            return rows
        return list(map(tuple, query.get_compiler(connection=connection).apply_converters(rows, converters)))

    def objects(self, *values: Value, shape: Row = (), using: str = DEFAULT_DB_ALIAS) -> list[M]:
        model: Any = self._written(using, connections[using].vendor, shape).query.model
        names = [field.attname for field in model._meta.concrete_fields]
        return [model.from_db(using, names, row) for row in self.rows(*values, shape=shape, using=using)]

    def _write(self, using: str, vendor: str, shape: Row) -> _Written:
        query = self._build(*self._stand_ins, *shape).query
        compiler = query.get_compiler(using)
        sql, params = compiler.as_sql()
        converters = compiler.get_converters([column for column, _sql, _alias in compiler.select])
        return _Written(query, sql, params, converters)


class CompiledUpdate(_Compiled):
    """What is written to rows that are there: `build` returns a queryset of one table, and a dict of new values."""

    def run(self, *values: Value, using: str = DEFAULT_DB_ALIAS) -> int:
        """Write it, and tell how many rows there were."""
        connection = connections[using]
        _query, sql, params, _converters = self._written(using, connection.vendor, ())
        with connection.cursor() as cursor:
            cursor.execute(sql, self._params(params, values, connection))
            return int(cursor.rowcount)

    def _write(self, using: str, vendor: str, shape: Row) -> _Written:
        rows, changes = self._build(*self._stand_ins, *shape)
        query = rows.query.chain(UpdateQuery)
        query.add_update_values(changes)
        sql, params = query.get_compiler(using).as_sql()
        return _Written(query, sql, params, None)


def _adapted(value: Value, connection: BaseDatabaseWrapper) -> Any:
    """As the ORM hands it to the driver."""
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
