"""Queries that are asked all the time: the ORM writes their SQL once. To write it is half of what such a call costs."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import QuerySet
from django.db.models.sql import Query

PLACE = 2**62
"""Numbers from here on stand for the values while the SQL is written: an id may be as large, and none is."""


class Prepared:
    """A query by ids.

    `build(*places, *shape)` returns a `values_list` that has each place in a condition. Then `rows(7, 9, shape=(20,))`
    are its rows for the ids 7 and 9; `shape` is all else that the SQL depends on, like how many rows there may be.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]]) -> None:
        self._build = build
        self._written = lru_cache(maxsize=256)(self._write)

    def rows(self, *ids: int, shape: tuple[Any, ...] = (), using: str = DEFAULT_DB_ALIAS) -> list[tuple[Any, ...]]:
        connection = connections[using]
        query, sql, params, converters = self._written(using, len(ids), shape)
        with connection.cursor() as cursor:
            cursor.execute(sql, [ids[param - PLACE] if _is_place(param) else param for param in params])
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        if not converters:
            return rows
        return list(map(tuple, query.get_compiler(connection=connection).apply_converters(rows, converters)))

    def _write(self, using: str, count: int, shape: tuple[Any, ...]) -> tuple[Query, str, tuple[Any, ...], Any]:
        places = range(PLACE, PLACE + count)
        query = self._build(*places, *shape).query
        compiler = query.get_compiler(using)
        sql, params = compiler.as_sql()
        return query, sql, params, compiler.get_converters([column for column, _sql, _alias in compiler.select])


def _is_place(param: Any) -> bool:
    return isinstance(param, int) and param >= PLACE
