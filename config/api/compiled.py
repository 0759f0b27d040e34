"""Queries that are asked all the time: the ORM writes their SQL once. To write it is half of what such a call costs."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import QuerySet
from django.db.models.sql import Query

Row = tuple[Any, ...]

ID, ANOTHER_ID = 2**62, 2**62 + 1
"""Stand-ins for ids: large enough to be nobody's."""


class CompiledQuery:
    """A query by a few values.

    `build(*stand_ins, *shape)` returns a `values_list` with each of the stand-ins in a condition. Then
    `rows(7, shape=(20,))` are its rows for the value 7; `shape` is all else that the SQL depends on, like how many rows
    there may be.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]], *stand_ins: int | str) -> None:
        self._build, self._stand_ins = build, stand_ins
        self._written = lru_cache(maxsize=256)(self._write)

    def rows(self, *values: int | str, shape: Row = (), using: str = DEFAULT_DB_ALIAS) -> list[Row]:
        connection = connections[using]
        query, sql, params, converters = self._written(using, shape)
        given = dict(zip(self._stand_ins, values, strict=True))
        with connection.cursor() as cursor:
            cursor.execute(sql, [given.get(param, param) for param in params])
            rows: list[Row] = cursor.fetchall()
        if not converters:
            return rows
        return list(map(tuple, query.get_compiler(connection=connection).apply_converters(rows, converters)))

    def _write(self, using: str, shape: Row) -> tuple[Query, str, Row, Any]:
        query = self._build(*self._stand_ins, *shape).query
        compiler = query.get_compiler(using)
        sql, params = compiler.as_sql()
        return query, sql, params, compiler.get_converters([column for column, _sql, _alias in compiler.select])
