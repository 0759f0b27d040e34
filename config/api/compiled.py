"""Queries that are asked all the time: the ORM writes their SQL once. To write it is half of what such a call costs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from operator import attrgetter, methodcaller
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import OnConflict
from django.db.models.expressions import DatabaseDefault
from django.db.models.sql import InsertQuery, Query, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

from config.pool import Connection

Row = tuple[Any, ...]
Value = int | str | datetime
M = TypeVar("M", bound=models.Model)

ID, ANOTHER_ID = 2**62, 2**62 + 1
"""Stand-ins for ids: large enough to be nobody's."""


ALL, HOW_MANY = methodcaller("fetchall"), attrgetter("rowcount")


def _run(connection: BaseDatabaseWrapper, sql: str, params: list[Any], told: Callable[[Any], Any]) -> Any:
    """What is `told` of the cursor that has run the statement: one that the connection keeps for it, where it does."""
    connection.ensure_connection()
    if not isinstance(connection.connection, Connection) or connection.queries_logged:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return told(cursor)
    kept = connection.connection.kept_cursor(sql)
    connection.make_cursor(kept).execute(sql, params)
    with connection.wrap_database_errors:
        return told(kept)


class _Place(NamedTuple):
    """A parameter of the SQL that is one of the values, and how the ORM hands that to the driver."""

    parameter: int
    value: int
    adapt: Callable[[Any], Any]


class _Written(NamedTuple):
    query: Query
    sql: str
    params: Row
    places: list[_Place]
    converters: Any

    def with_values(self, values: tuple[Value, ...]) -> list[Any]:
        params = list(self.params)
        for parameter, value, adapt in self.places:
            params[parameter] = adapt(values[value])
        return params


class _Compiled(ABC):
    """Something by a few values: `build(*stand_ins, *shape)` has each of the stand-ins in a condition, or as a value.

    The SQL is kept for each `shape`, which is all else that it depends on, like how many rows there may be.
    """

    def __init__(self, build: Callable[..., Any], *stand_ins: Value) -> None:
        self._build, self._stand_ins = build, stand_ins
        self._written = lru_cache(maxsize=256)(self._write)

    def _write(self, using: str, vendor: str, shape: Row) -> _Written:
        """`vendor` is that of the database, which tests change behind an alias."""
        query = self._query(*self._stand_ins, *shape)
        compiler = query.get_compiler(using)
        sql, params = compiler.as_sql()
        places = list(self._places(params, compiler))
        if {place.value for place in places} != {*range(len(self._stand_ins))}:
            raise ValueError("each stand-in must be a parameter of the query, unchanged")
        return _Written(query, sql, params, places, self._converters(compiler))

    def _places(self, params: Row, compiler: SQLCompiler) -> Iterator[_Place]:
        adapt_moment: Callable[[Any], Any] = compiler.connection.ops.adapt_datetimefield_value
        for value, stand_in in enumerate(self._stand_ins):
            adapt = adapt_moment if isinstance(stand_in, datetime) else None
            wanted = adapt(stand_in) if adapt else stand_in
            for parameter, param in enumerate(params):
                if param == wanted:
                    yield _Place(parameter, value, adapt or type(param))

    @abstractmethod
    def _query(self, *args: Any) -> Query:
        """Of what is built."""

    @abstractmethod
    def _converters(self, compiler: SQLCompiler) -> Any:
        """Of its columns, where it has any."""


class CompiledQuery(_Compiled, Generic[M]):
    """What is read: `build` returns a queryset.

    `rows(7, shape=(20,))` are the rows for the value 7, and `objects(7)` those of a whole model as its instances.
    """

    def rows(self, *values: Value, shape: Row = (), using: str = DEFAULT_DB_ALIAS) -> list[Row]:
        return self._find(values, shape, using)[1]

    def objects(self, *values: Value, shape: Row = (), using: str = DEFAULT_DB_ALIAS) -> list[M]:
        query, rows = self._find(values, shape, using)
        model: Any = query.model
        names = [field.attname for field in model._meta.concrete_fields]
        return [model.from_db(using, names, row) for row in rows]

    def _find(self, values: tuple[Value, ...], shape: Row, using: str) -> tuple[Query, list[Row]]:
        connection = connections[using]
        written = self._written(using, connection.vendor, shape)
        query = written.query
        if query.select_for_update and not connection.in_atomic_block:
            raise transaction.TransactionManagementError("a lock lasts no longer than its transaction: there is none")
        rows: list[Row] = _run(connection, written.sql, written.with_values(values), ALL)
        if written.converters:
            compiler = query.get_compiler(connection=connection)
            rows = list(map(tuple, compiler.apply_converters(rows, written.converters)))
        return query, rows

    def _query(self, *args: Any) -> Query:
        query: Query = self._build(*args).query
        return query

    def _converters(self, compiler: SQLCompiler) -> Any:
        columns = [column for column, _sql, _alias in compiler.select]
        if any(isinstance(column.output_field, models.JSONField) for column in columns):
            raise ValueError("JSON does not come as the ORM reads it, where values come in binary: see config.pool")
        return compiler.get_converters(columns)


class CompiledUpdate(_Compiled):
    """What is written to rows that are there: `build` returns a queryset of one table, and a dict of new values."""

    def run(self, *values: Value, using: str = DEFAULT_DB_ALIAS) -> int:
        """Write it, and tell how many rows there were."""
        connection = connections[using]
        written = self._written(using, connection.vendor, ())
        with transaction.mark_for_rollback_on_error(using):
            return int(_run(connection, written.sql, written.with_values(values), HOW_MANY))

    def _query(self, *args: Any) -> Query:
        rows, changes = self._build(*args)
        query: UpdateQuery = rows.query.chain(UpdateQuery)
        query.add_update_values(changes)
        return query

    def _converters(self, compiler: SQLCompiler) -> Any:
        return None


class CompiledInsert:
    """Mixed into a model, has rows inserted by SQL that is kept for each set of columns that have a value.

    The database makes the others up.
    """

    _inserts: ClassVar[dict[Any, tuple[str, Query, Any]]] = {}
    _meta: Any
    _state: Any

    def insert(self) -> Self:
        """Store what is new under a new id, without what `save` does for others: parents, signals, what is there."""
        self._insert(None)
        return self

    def insert_if_unique(self) -> bool:
        """The same; false, and nothing done, where a row that must be unique is there.

        That is no error: the transaction goes on, and needs no savepoint.
        """
        return self._insert(OnConflict.IGNORE)

    def _insert(self, on_conflict: OnConflict | None) -> bool:
        fields = [field for field in self._meta.local_concrete_fields if not field.primary_key]
        returning = self._meta.db_returning_fields
        with transaction.mark_for_rollback_on_error(DEFAULT_DB_ALIAS):
            rows = self._do_insert(self._meta.base_manager, DEFAULT_DB_ALIAS, fields, returning, False, on_conflict)
        for row in rows:
            for field, value in zip(returning, row, strict=True):
                setattr(self, field.attname, value)
            self._state.adding, self._state.db = False, DEFAULT_DB_ALIAS
        return bool(rows)

    def _do_insert(
        self,
        manager: Any,
        using: str,
        fields: Any,
        returning_fields: Any,
        raw: bool,
        on_conflict: OnConflict | None = None,
    ) -> list[Row]:
        """What `save` does where a row is new: see Django's own."""
        connection = connections[using]
        cells = [(field, getattr(self, field.attname) if raw else field.pre_save(self, add=True)) for field in fields]
        given = [(field, value) for field, value in cells if not isinstance(value, DatabaseDefault)]
        if any(hasattr(value, "resolve_expression") for _field, value in given):
            model: Any = super()  # which this is mixed into
            return list(model._do_insert(manager, using, fields, returning_fields, raw))
        key = type(self), using, connection.vendor, on_conflict, tuple([field.attname for field, _value in given])
        if key not in self._inserts:
            self._inserts[key] = self._write_insert(using, fields, returning_fields, raw, on_conflict)
        sql, query, converters = self._inserts[key]
        values = [field.get_db_prep_save(value, connection) for field, value in given]
        rows: list[Row] = _run(connection, sql, values, ALL)
        if not converters:
            return rows
        return list(query.get_compiler(connection=connection).apply_converters(rows, converters))

    def _write_insert(
        self, using: str, fields: Any, returning_fields: Any, raw: bool, on_conflict: OnConflict | None
    ) -> tuple[str, Query, Any]:
        query: Any = InsertQuery(type(self), on_conflict=on_conflict)
        query.insert_values(fields, [self], raw=raw)
        compiler = query.get_compiler(using)
        compiler.returning_fields = returning_fields
        [(sql, _params)] = compiler.as_sql()
        columns = [field.get_col(self._meta.db_table) for field in returning_fields]
        return sql, InsertQuery(type(self)), compiler.get_converters(columns)  # a query without the row
