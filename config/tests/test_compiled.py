"""Queries whose SQL is written once find and write what the ORM does."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, DataError, IntegrityError, connection, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, ExpressionWrapper, F, Q
from django.db.models.functions import Now
from django.db.utils import load_backend
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config import pool
from config.api.compiled import ANOTHER_ID, ID, CompiledQuery, CompiledUpdate
from referrals.models import LookupCount, ReferralCode
from referrals.tests.factories import make_code, make_expired_code, make_referral
from users.models import AuditEvent, TokenFamily, User
from users.tests.factories import make_user

pytestmark = pytest.mark.django_db

MOMENT = datetime.max.replace(tzinfo=UTC)


def of_owner(owner):
    return ReferralCode.objects.filter(owner=owner).order_by("id")


def ending(owner, after):
    is_over = ExpressionWrapper(Q(expires_at__lte=Now()), BooleanField())
    rows = ReferralCode.objects.filter(owner=owner, expires_at__gt=after).order_by("id")
    return rows.values_list("code", "expires_at", "retired_at", "owner__username", is_over, F("expires_at") - Now())


def newest(after, most):
    return User.objects.filter(id__gt=after).order_by("-id").values_list("id")[:most]


def between(first, last):
    return User.objects.filter(Q(id__gte=first, id__lte=last) | Q(id=first)).order_by("id").values_list("id")


def names(columns: dict, model):
    return {field.attname: columns[field.attname] for field in model._meta.concrete_fields}


def test_whole_rows_are_the_instances_that_the_orm_finds():
    code = make_code()
    make_code()
    compiled = CompiledQuery[ReferralCode](of_owner, ID)
    for owner in (code.owner_id, ID, 0):
        found, expected = compiled.objects(owner), list(of_owner(owner))
        assert found == expected
        assert [names(vars(row), ReferralCode) for row in found] == [names(vars(row), ReferralCode) for row in expected]
    [found] = compiled.objects(code.owner_id)
    assert (found._state.adding, found._state.db, found.expires_at.tzinfo) == (False, "default", UTC)
    found.code = "CHANGED"
    found.save(update_fields=["code"])
    assert ReferralCode.objects.get(pk=code.pk).code == "CHANGED"


def test_moments_booleans_nulls_and_joined_columns_are_as_the_orm_has_them():
    active, expired = make_code(), make_expired_code()
    compiled = CompiledQuery[ReferralCode](ending, ID, MOMENT)
    now = timezone.now()
    elsewhere = timezone.get_fixed_timezone(-480)
    for owner in (active.owner_id, expired.owner_id):
        for after in (now - timedelta(days=9), now, now.astimezone(elsewhere), active.expires_at):
            found, expected = compiled.rows(owner, after), list(ending(owner, after))
            assert [row[:-1] for row in found] == [row[:-1] for row in expected]
            assert [[type(cell) for cell in row] for row in found] == [[type(cell) for cell in row] for row in expected]
    [[*_rest, left]] = compiled.rows(active.owner_id, now)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    assert [row[4] for row in compiled.rows(expired.owner_id, now - timedelta(days=9))] == [True]


def test_each_shape_has_a_query_of_its_own():
    users = [make_user() for _number in range(5)]
    compiled = CompiledQuery[User](newest, ID)
    for most in (1, 3, 2, 3):
        assert compiled.rows(0, shape=(most,)) == [(user.pk,) for user in users[::-1][:most]]


def test_the_sql_is_the_same_whatever_the_value_and_so_is_what_is_handed_to_the_driver():
    compiled = CompiledQuery[User](newest, ID)
    values = (1, 2**15, 2**31, ID, 2**63 - 1)
    with CaptureQueriesContext(connection) as seen:
        for value in values:
            compiled.rows(value, shape=(3,))
    with CaptureQueriesContext(connection) as theirs:
        for value in values:
            list(newest(value, 3))
    assert [query["sql"] for query in seen] == [query["sql"] for query in theirs]
    written = compiled._written("default", connection.vendor, (3,))
    for value in values:
        _sql, expected = newest(value, 3).query.sql_with_params()
        given = written.with_values((value,))
        assert given == list(expected)
        assert list(map(type, given)) == list(map(type, expected))


def test_a_value_that_equals_a_stand_in_is_a_value():
    users = [make_user() for _number in range(2)]
    compiled = CompiledQuery[User](between, ID, ANOTHER_ID)
    first, last = (user.pk for user in users)
    assert compiled.rows(first, last) == [(first,), (last,)]
    for pair in ((ID, ANOTHER_ID), (ANOTHER_ID, ID), (last, ID), (first, ANOTHER_ID), (ANOTHER_ID, last)):
        assert compiled.rows(*pair) == list(between(*pair))


def test_a_text_is_no_part_of_the_sql():
    eve = make_user(username="o'eve%s")
    compiled = CompiledQuery[User](lambda name: User.objects.filter(username=name).values_list("id"), "somebody")
    assert compiled.rows(eve.username) == [(eve.pk,)]
    assert compiled.rows("' OR '1' = '1") == compiled.rows("%") == compiled.rows("somebody") == []


def test_a_stand_in_that_is_nowhere_is_told_of():
    for build in (lambda owner: User.objects.all(), lambda owner: User.objects.filter(pk=owner + 1)):
        with pytest.raises(ValueError, match="stand-in"):
            CompiledQuery[User](build, ID).rows(1)


def test_an_update_writes_what_the_orm_writes_and_counts_the_rows():
    one, other = (LookupCount.objects.create(owner=make_user(), lookups=3) for _number in range(2))
    compiled = CompiledUpdate(lambda owner: (LookupCount.objects.filter(pk=owner), {"lookups": F("lookups") + 1}), ID)
    assert [compiled.run(one.pk), compiled.run(one.pk), compiled.run(ID)] == [1, 1, 0]
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.lookups, other.lookups) == (5, 3)


def test_an_update_takes_texts_and_moments_as_the_orm_does():
    user, now = make_user(), timezone.now()
    families = [TokenFamily.objects.create(user=user, current=f"{n}", expires_at=now) for n in range(2)]

    def renewed(family, current, until):
        return TokenFamily.objects.filter(pk=family), {"current": current, "expires_at": until}

    until = now.astimezone(timezone.get_fixed_timezone(180)) + timedelta(days=1)
    assert CompiledUpdate(renewed, ID, "current", MOMENT).run(families[0].pk, "new", until) == 1
    rows, changes = renewed(families[1].pk, "new", until)
    rows.update(**changes)
    written = TokenFamily.objects.values_list("current", "expires_at")
    assert list(written) == [("new", until)] * 2
    assert TokenFamily.objects.filter(expires_at=until).count() == 2


@pytest.mark.django_db(transaction=True)
def test_an_update_that_is_refused_leaves_nothing_of_its_transaction():
    ada, bob = make_user(), make_user()
    renamed = CompiledUpdate(lambda user, name: (User.objects.filter(pk=user), {"username": name}), ID, "somebody")

    @transaction.atomic
    def rename_both():
        renamed.run(ada.pk, "changed")
        renamed.run(bob.pk, "changed")

    with pytest.raises(DatabaseError):
        rename_both()
    assert not User.objects.filter(username="changed").exists()
    assert renamed.run(bob.pk, "changed") == 1


@pytest.mark.django_db(transaction=True)
def test_a_transaction_goes_no_further_after_an_update_that_was_refused():
    """Where somebody catches the error, SQLite would keep what was written before it."""
    ada, bob = make_user(), make_user(username="bob")
    renamed = CompiledUpdate(lambda user, name: (User.objects.filter(pk=user), {"username": name}), ID, "somebody")
    with transaction.atomic():
        User.objects.filter(pk=bob.pk).update(language="ru")
        with pytest.raises(DatabaseError):
            renamed.run(ada.pk, "bob")
        with pytest.raises(transaction.TransactionManagementError):
            User.objects.exists()
    assert not User.objects.filter(language="ru").exists()


@pytest.mark.parametrize("insert", [ReferralCode.objects.create, lambda **values: ReferralCode(**values).insert()])
def test_an_inserted_row_is_what_the_orm_makes_with_each_set_of_columns(insert):
    owner, moment = make_user(), timezone.now() + timedelta(days=1)
    plain = {"owner": owner, "code": "ONE-ONE", "folded": "ONE", "expires_at": moment}
    for values in (plain, plain | {"created_at": timezone.now() - timedelta(days=3)}, plain):
        with CaptureQueriesContext(connection) as ours:
            made = insert(**values)
        stored = ReferralCode.objects.get()
        assert names(vars(made), ReferralCode) == names(vars(stored), ReferralCode)
        assert (made._state.adding, made._state.db, made.created_at.tzinfo) == (False, "default", UTC)
        assert made.created_at == values.get("created_at", stored.created_at)
        made.delete()
        theirs = ReferralCode(**values)
        with CaptureQueriesContext(connection) as expected:
            models.Model._do_insert(theirs, *insertion(ReferralCode))
        assert re.sub(r"'[^']*'", "''", ours[0]["sql"]) == re.sub(r"'[^']*'", "''", expected[0]["sql"])
        ReferralCode.objects.all().delete()


def insertion(model):
    """What `save` hands on."""
    meta = model._meta
    fields = [field for field in meta.local_concrete_fields if field is not meta.auto_field]
    return model._base_manager, "default", fields, meta.db_returning_fields, False


def test_a_row_with_an_id_or_an_expression_of_its_own_is_inserted_too():
    user = User.objects.create(id=1_000_000, email="ada@example.com", username="ada")
    assert User.objects.get(pk=1_000_000) == user
    family = TokenFamily.objects.create(user=user, current="x", expires_at=Now() + timedelta(days=1))
    assert TokenFamily.objects.get(pk=family.pk, expires_at__gt=timezone.now() + timedelta(hours=23)) == family


def test_json_is_left_to_the_orm():
    """In binary, psycopg reads it itself; tests on a connection that is not of the pool would not see it."""
    with pytest.raises(ValueError, match="JSON"):
        CompiledQuery(lambda user_id: AuditEvent.objects.filter(user=user_id), ID).rows(1)


def test_no_row_is_kept_with_the_sql_that_was_written_for_it():
    User.objects.create(email="ada@example.com", username="ada")
    assert not [query.objs for _sql, query, _converters in User._inserts.values() if query.objs]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_goes_no_further_after_an_insert_that_was_refused():
    """As with `save`. Where somebody catches the error, SQLite would keep what was written before it."""
    make_user(username="bob")
    with transaction.atomic():
        User.objects.update(language="ru")
        with pytest.raises(DatabaseError):
            User(email="eve@example.com", username="bob").insert()
        with pytest.raises(transaction.TransactionManagementError):
            User.objects.exists()
    assert not User.objects.filter(language="ru").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("taken", [{"email": "ada@example.com"}, {"username": "ADA"}])
def test_a_row_that_is_in_the_way_is_no_error_and_the_transaction_goes_on(taken):
    ada = User(email="ada@example.com", username="ada")
    late = User(**{"email": "eve@example.com", "username": "eve"} | taken)
    with transaction.atomic():
        assert ada.insert_if_unique()
        assert not late.insert_if_unique()
        assert (late.pk, late._state.adding) == (None, True)
        bob = User.objects.create(email="bob@example.com", username="bob")
    assert list(User.objects.order_by("id")) == [ada, bob]
    stored = User.objects.get(pk=ada.pk)
    assert names(vars(ada), User) == names(vars(stored), User)
    assert (ada._state.adding, ada._state.db) == (False, "default")


@pytest.mark.django_db(transaction=True)
def test_rows_are_locked_in_a_transaction_only():
    """With the ORM too; without one, the lock would be gone before it is of use."""
    user = make_user()
    compiled = CompiledQuery[User](lambda user: User.objects.filter(pk=user).select_for_update(no_key=True), ID)
    with transaction.atomic():
        assert compiled.objects(user.pk) == [user]
    with pytest.raises(transaction.TransactionManagementError):
        compiled.objects(user.pk)


def test_what_is_found_shows_the_present_whatever_was_found_before():
    referral = make_referral()
    compiled = CompiledQuery[User](lambda user: User.objects.filter(pk=user, is_active=True), ID)
    assert compiled.objects(referral.referred_id)
    User.objects.update(is_active=False)
    assert not compiled.objects(referral.referred_id)


@pytest.fixture
def pooled(transactional_db) -> Iterator[BaseDatabaseWrapper]:
    """The same database, as a web process is connected to it."""
    its_own = connection.settings_dict["OPTIONS"] | {
        "pool": pool.POOL | {"connection_class": pool.Connection, "max_size": 2}
    }
    settings = connection.settings_dict | {"OPTIONS": its_own, "CONN_MAX_AGE": 0}
    connections["pooled"] = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, "pooled")
    yield connections["pooled"]
    connections["pooled"].close()
    connections["pooled"].close_pool()
    del connections["pooled"]


@pytest.mark.postgres
def test_a_connection_of_a_pool_finds_the_same_again_and_again(pooled):
    codes = [make_code(), make_expired_code()]
    compiled = CompiledQuery[ReferralCode](ending, ID, MOMENT)
    since = timezone.now() - timedelta(days=9)
    for code in codes * 5:  # PostgreSQL prepares it meanwhile
        [found], [expected] = compiled.rows(code.owner_id, since, using="pooled"), ending(code.owner_id, since)
        assert found[:-1] == expected[:-1]
        assert [type(cell) for cell in found] == [type(cell) for cell in expected]
        assert [str(moment) for moment in found[1:3]] == [str(moment) for moment in expected[1:3]]
    assert compiled.rows(ID, since, using="pooled") == []
    assert len(pooled.connection.kept.keys() - {""}) == 1


@pytest.mark.postgres
def test_a_connection_of_a_pool_writes_and_counts_the_rows(pooled):
    user = make_user(username="bob")
    renamed = CompiledUpdate(lambda user, name: (User.objects.filter(pk=user), {"username": name}), ID, "somebody")
    assert [renamed.run(user.pk, "ada", using="pooled"), renamed.run(ID, "ada", using="pooled")] == [1, 0]
    made = User.objects.using("pooled").create(email="grace@example.com", username="grace")
    assert set(User.objects.values_list("pk", "username")) == {(user.pk, "ada"), (made.pk, "grace")}
    for _twice in range(2):
        with transaction.atomic("pooled"):
            with pytest.raises(IntegrityError):
                renamed.run(made.pk, "ada", using="pooled")
            with pytest.raises(transaction.TransactionManagementError):
                renamed.run(made.pk, "hopper", using="pooled")
    assert renamed.run(made.pk, "hopper", using="pooled") == 1


@pytest.mark.postgres
def test_what_a_connection_of_a_pool_cannot_read_is_an_error_of_the_database(pooled):
    make_code()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE referrals_referralcode SET expires_at = 'infinity'")
    with pytest.raises(DataError):
        CompiledQuery[ReferralCode](lambda id_: ReferralCode.objects.exclude(pk=id_), ID).rows(0, using="pooled")


@pytest.mark.postgres
def test_who_watches_the_queries_of_a_connection_of_a_pool_sees_them(pooled, settings):
    compiled = CompiledQuery[User](newest, ID)
    seen = []
    with pooled.execute_wrapper(lambda execute, sql, *rest: (seen.append(sql), execute(sql, *rest))[1]):
        compiled.rows(0, shape=(1,), using="pooled")
    with CaptureQueriesContext(pooled) as captured:
        compiled.rows(0, shape=(1,), using="pooled")
    assert len(seen) == len(captured) == 1
    settings.DEBUG = True
    compiled.rows(0, shape=(1,), using="pooled")
    assert len(pooled.queries) == 2


@pytest.mark.postgres
def test_a_connection_keeps_no_more_cursors_than_it_should(pooled, monkeypatch):
    monkeypatch.setattr(pool, "MOST_KEPT", 2)
    users = [make_user() for _number in range(4)]
    compiled = CompiledQuery[User](newest, ID)
    for most in (1, 2, 3, 4, 1):
        assert compiled.rows(0, shape=(most,), using="pooled") == [(user.pk,) for user in users[::-1][:most]]
        assert len(pooled.connection.kept) <= 2


@pytest.mark.postgres
def test_a_connection_of_a_pool_that_was_ended_is_an_error_and_the_next_one_works(pooled):
    """F4"""
    user = make_user()
    compiled = CompiledQuery[User](lambda user: User.objects.filter(pk=user).values_list("id"), ID)
    assert compiled.rows(user.pk, using="pooled") == [(user.pk,)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pooled.connection.info.backend_pid])
    with pytest.raises(DatabaseError):
        compiled.rows(user.pk, using="pooled")
    pooled.close()
    assert compiled.rows(user.pk, using="pooled") == [(user.pk,)]
