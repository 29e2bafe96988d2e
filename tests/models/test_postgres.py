"""What is Postgres's alone: its address, its migrations, connections that are lost, and servers that say nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from peewee import OperationalError
from psycopg.errors import DeadlockDetected

from models import admission
from models import postgres as module
from models.admission import admit
from models.clock import boot_clock
from models.conversation import Conversation, touch
from models.database import _migrate, connect, database, execute, keep_clock, migration_names, now, read_now, shut_out
from models.database_threads import DatabaseThreads
from models.erasure import mark_deleted
from models.errors import NotFound, SettingInvalid, Unavailable
from models.generation import Generation, Status
from models.periodic import Schedule
from models.postgres import Postgres, address_of, is_victim, open_postgres
from models.settings import Settings
from models.tenant import Tenant, first_tenant
from tests.models.rows import changed, queued, request, tenant_id
from tests.models.test_database import TABLES
from tests.postgres_server import PostgresServer
from tests.store import shift_clock

pytestmark = pytest.mark.one_store


@pytest.fixture
def store() -> str:
    return "postgres"


@pytest.fixture
def short(settings: Settings, database: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Postgres]]:
    """Connects anew with other bounds."""
    bound: list[Postgres] = []

    def reconnect(**seconds: float) -> Postgres:
        for name, value in seconds.items():
            monkeypatch.setattr(module, name, value)
        found = connect(settings)
        assert isinstance(found, Postgres)
        bound.append(found)
        return found

    yield reconnect
    for each in bound:
        each.close()


def until_somebody_waits_for_a_lock(postgres: PostgresServer) -> None:
    deadline = time.monotonic() + 60
    with postgres.connection() as other:
        while not other.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall():
            assert time.monotonic() < deadline
            time.sleep(0.005)


def end_connections(postgres: PostgresServer) -> None:
    """As an administrator does, or a restart."""
    with postgres.connection() as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'streamer'"
        )


# Its schema


def schema(url: str) -> dict[str, Any]:
    """Columns, indexes and constraints, whatever their order, and whatever name a constraint got."""
    with PostgresConnection(url) as ask:
        columns = (
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        )
        constraints = "SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint"
        found = {
            "columns": ask(f"{columns} WHERE table_schema = 'public'"),
            "indexes": ask("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"),
            "constraints": ask(f"{constraints} WHERE connamespace = 'public'::regnamespace AND conrelid <> 0"),
        }
    return {
        kind: sorted(str(row).replace("_pkey1", "_pkey") for row in rows if "migration" not in str(row))
        for kind, rows in found.items()
    }


class PostgresConnection:
    """Queries past the service."""

    def __init__(self, url: str) -> None:
        self._bound = open_postgres(url)

    def __enter__(self) -> Callable[[str], list[Any]]:
        return lambda sql: list(self._bound.execute_sql(sql).fetchall())

    def __exit__(self, *_: object) -> None:
        self._bound.close()


def test_the_migrated_schema_is_the_models_schema(postgres: PostgresServer, database_url: str) -> None:
    fresh = open_postgres(postgres.make("fresh"))
    with fresh.bind_ctx(TABLES), fresh.connection_context():
        fresh.create_tables(TABLES)

    assert schema(database_url) == schema(postgres.url("fresh"))


def test_an_empty_database_is_refused_until_it_is_migrated(postgres: PostgresServer, settings: Settings) -> None:
    empty = Settings(data=settings.data, database_url=postgres.make("empty"))

    with pytest.raises(SettingInvalid, match="run `streamer migrate`"):
        connect(empty)
    assert not any(applied for _, applied in migration_names())
    connect(empty, migrating=True)
    assert all(applied for _, applied in migration_names())
    connect(empty)


def test_two_processes_may_migrate_at_once(postgres: PostgresServer) -> None:
    url = postgres.make("both")
    together = threading.Barrier(2)

    def migrate(_: int) -> None:
        bound = open_postgres(url, bounded=False)
        with bound.connection_context():
            together.wait()
            _migrate(bound)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(migrate, range(2)))


# Its address


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/",
        "postgresql://user:pass@word@host/db",
        "postgresql://user:word/pass@host/db",
        "postgresql://user:5432/pass@host/db",
        "postgresql://user:password@host:port/db",
        "postgresql://user:password@host/db?unheard_of=1",
        "postgresql://[::1/db",
        "postgres://",
    ],
)
def test_an_address_that_is_none_is_refused_and_nothing_of_it_is_told(settings: Settings, url: str) -> None:
    with pytest.raises(SettingInvalid, match=r"^DATABASE_URL is no address of a Postgres") as caught:
        connect(Settings(data=settings.data, database_url=url))

    for secret in ("pass@", "word@", "word/", "unheard", "port/"):
        assert secret not in caught.value.message.replace("user:password@host:5432/database", "")
    assert caught.value.__cause__ is None


def test_a_server_that_is_not_there_is_told_without_its_password(settings: Settings) -> None:
    url = "postgresql://user:canary@127.0.0.1:1/db"

    with pytest.raises(SettingInvalid, match="check DATABASE_URL") as caught:
        connect(Settings(data=settings.data, database_url=url))

    assert "127.0.0.1" in caught.value.message
    assert "canary" not in caught.value.message
    assert "\n" not in caught.value.message


def test_an_address_is_told_without_user_and_password() -> None:
    assert address_of(open_postgres("postgresql://user:canary@db.example:6543/chat")) == "db.example:6543/chat"
    assert address_of(open_postgres("postgres:///chat")) == "this machine:5432/chat"


def test_what_the_address_says_goes_before_what_we_say() -> None:
    url = "postgresql://host/db?connect_timeout=9&application_name=mine&options=-c%20work_mem%3D8MB"
    given = open_postgres(url).connect_params

    assert (given["connect_timeout"], given["application_name"]) == ("9", "mine")
    assert given["options"].startswith("-c work_mem=8MB -c statement_timeout=5000 ")
    assert open_postgres("postgresql://host/db", bounded=False).connect_params["options"] == ""


# Connections that are lost


@pytest.mark.usefixtures("database")
def test_a_server_that_was_restarted_costs_nobody_a_request(postgres: PostgresServer) -> None:
    tenant = first_tenant()
    end_connections(postgres)
    assert first_tenant() == tenant
    end_connections(postgres)
    with database.atomic():
        assert first_tenant() == tenant


@pytest.mark.usefixtures("database")
def test_a_transaction_whose_connection_is_lost_has_stored_nothing(postgres: PostgresServer) -> None:
    first_tenant()
    threads = DatabaseThreads(1)

    def lose_halfway() -> None:
        with database.atomic():
            Tenant.create(public_id="ten_half", name="half", created_at=1.0)
            end_connections(postgres)

    with pytest.raises(Unavailable):
        threads.call(lose_halfway)
    assert threads.call(Tenant.get_or_none, Tenant.public_id == "ten_half") is None
    threads.close()


def test_who_stood_still_in_a_transaction_is_told_and_holds_up_nobody(
    postgres: PostgresServer, short: Callable[..., Postgres]
) -> None:
    bound = short(IDLE_SECONDS=0.2)

    def stand_still() -> None:
        with bound.atomic():
            (pid,) = execute("SELECT pg_backend_pid()").fetchone()
            with postgres.connection() as other:
                while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
                    time.sleep(0.01)
            execute("SELECT 1")

    with pytest.raises(OperationalError):
        stand_still()
    assert execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_may_only_be_read_counts_as_away(settings: Settings, database: Any) -> None:
    url = f"{settings.database_url}&options=-c%20default_transaction_read_only%3Don"
    bound = connect(Settings(data=settings.data, database_url=url))
    threads = DatabaseThreads(1)

    with pytest.raises(Unavailable):
        threads.call(Schedule.create, name="x", next_at=0.0, owner="y")

    threads.close()
    bound.close()


# Servers that say nothing


def test_a_statement_that_takes_too_long_is_ended_by_the_server(short: Callable[..., Postgres]) -> None:
    bound = short()
    bound.execute_sql("SET statement_timeout = 50")

    with pytest.raises(OperationalError, match="statement timeout"):
        execute("SELECT pg_sleep(60)")
    assert execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_stands_still_is_given_up_and_then_not_waited_for_again(
    postgres: PostgresServer, short: Callable[..., Postgres]
) -> None:
    bound = short(CONNECT_SECONDS=2, REST_SECONDS=3600)
    connection: Any = bound.connection()  # type: ignore[no-untyped-call]
    postgres.freeze()
    connection.silence_seconds = 0.1
    try:
        with pytest.raises(OperationalError, match="timeout"):
            execute("SELECT 1")
        with pytest.raises(OperationalError, match="timeout"):
            execute("SELECT 1")  # a new connection
        with pytest.raises(OperationalError, match="did not answer a moment ago"):
            execute("SELECT 1")
    finally:
        postgres.thaw()
    short(CONNECT_SECONDS=30, SILENCE_SECONDS=60)
    assert execute("SELECT 1").fetchone() == (1,)


# Transactions


@pytest.mark.usefixtures("database")
def test_one_of_two_that_wait_for_each_other_is_undone_and_comes_again() -> None:
    names = ["first", "second"]
    for name in names:
        Schedule.create(name=name, next_at=0.0, owner="nobody")
    together = threading.Barrier(2)
    tries: list[str] = []
    threads = DatabaseThreads(1)

    def take_both(own: list[str]) -> None:
        with database.atomic():
            for name in own:
                Schedule.update(next_at=Schedule.next_at + 1).where(Schedule.name == name).execute()
                tries.append(name)
                if len(tries) <= 2:
                    together.wait(60)

    def work(own: list[str]) -> None:
        threads.call(take_both, own)
        database.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (names, names[::-1])))

    assert [row.next_at for row in Schedule.select()] == [2.0, 2.0]
    assert len(tries) > 4, "nobody was undone"
    threads.close()


@pytest.mark.usefixtures("database")
def test_what_is_undone_again_and_again_is_given_up() -> None:
    threads = DatabaseThreads(1)
    tries: list[int] = []

    def undone() -> None:
        tries.append(1)
        raise OperationalError(DeadlockDetected())

    with pytest.raises(Unavailable):
        threads.call(undone)
    assert len(tries) == 3
    threads.close()


def test_only_an_undone_transaction_comes_again() -> None:
    assert not is_victim(OperationalError())
    assert not is_victim(OperationalError("database is locked"))


@pytest.mark.usefixtures("database")
def test_who_shuts_out_others_is_alone_until_its_transaction_ends() -> None:
    inside, seen = threading.Event(), []

    def other(name: str) -> None:
        with database.atomic():
            inside.set()
            shut_out(name)
            seen.append(Tenant.select().count())
        database.close()

    with ThreadPoolExecutor(1) as pool:
        with database.atomic():
            shut_out("a")
            pool.submit(other, "b").result(60)
            waiting = pool.submit(other, "a")
            inside.clear()
            assert inside.wait(60)
            first_tenant()
        waiting.result(60)
    assert seen == [0, 1]


@pytest.mark.usefixtures("database")
def test_who_asks_again_in_a_conversation_that_is_deleted_at_that_moment_is_told_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = changed(admit(request(conversation="talk"), settings).generation, status=Status.DONE)
    seen = []

    def deleted_before(conversation: Conversation, time: float) -> None:
        def delete() -> None:
            mark_deleted(tenant_id(), "visitor", "talk")
            database.close()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(delete).result(60)
        seen.append(conversation.id)
        touch(conversation, time)

    monkeypatch.setattr(admission, "touch", deleted_before)
    with pytest.raises(NotFound):
        admit(request(sibling_of=first.id), settings)
    assert seen == [first.__data__["conversation"]]


@pytest.mark.usefixtures("database")
def test_a_conversation_is_not_deleted_while_somebody_asks_in_it(
    postgres: PostgresServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(admit(request(conversation="talk"), settings).generation, status=Status.DONE)
    waiting: list[Future[object]] = []

    def delete() -> None:
        try:
            mark_deleted(tenant_id(), "visitor", "talk")
        finally:
            database.close()

    with ThreadPoolExecutor(1) as pool:

        def deleted_meanwhile(conversation: Conversation) -> None:
            waiting.append(pool.submit(delete))
            until_somebody_waits_for_a_lock(postgres)

        monkeypatch.setattr(admission, "_require_free", deleted_meanwhile)
        found = admit(request(conversation="talk"), settings)
        waiting[0].result(60)
    conversation: Any = found.generation.conversation
    assert Conversation.get_by_id(conversation.id).deleted_at is not None


@pytest.mark.usefixtures("database")
def test_a_request_whose_commit_came_through_without_a_reply_is_admitted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_tenant()
    commit = Postgres.commit

    def unheard(self: Postgres) -> None:
        commit(self)
        monkeypatch.setattr(Postgres, "commit", commit)
        raise OperationalError("the connection is lost")

    for asked, name in ((request(conversation="talk"), "talk"), (request(direct="{}", visitor=""), "")):
        monkeypatch.setattr(Postgres, "commit", unheard)
        found = admit(asked, settings)
        assert (found.fresh, found.conversation) == (True, name)
    assert Generation.select().count() == 2


@pytest.mark.usefixtures("database")
def test_a_request_whose_commit_did_not_come_through_is_not_admitted(
    postgres: PostgresServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_tenant()
    commit = Postgres.commit

    def lost(self: Postgres) -> None:
        end_connections(postgres)
        commit(self)

    monkeypatch.setattr(Postgres, "commit", lost)
    with pytest.raises(OperationalError):
        admit(request(), settings)
    assert Generation.select().count() == 0


# What it stores


@pytest.mark.usefixtures("database")
def test_what_is_looked_for_with_a_zero_is_nowhere(settings: Settings) -> None:
    row = queued(settings)

    assert Generation.get_or_none(Generation.id == f"{row.id}\0") is None


# Its clock


@pytest.mark.usefixtures("database")
def test_an_expression_and_a_reading_are_one_clock() -> None:
    (found,) = execute("SELECT database_now()").fetchone()

    assert abs(read_now() - found) < 30


@pytest.mark.usefixtures("database")
def test_the_clock_goes_on_within_a_transaction() -> None:
    with database.atomic():
        times = [execute("SELECT database_now()").fetchone()[0] for _ in range(3)]

    assert times[0] < times[1] < times[2]


@pytest.mark.usefixtures("database")
def test_a_step_of_the_servers_clock_is_followed_and_what_may_be_right_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_now()
    shift_clock(1000)
    keep_clock()
    assert read_now() - before > 900

    known = boot_clock.offset_seconds
    monkeypatch.setattr("models.database.boot_seconds", Ticking(boot_clock() - (known or 0)))
    keep_clock()
    assert boot_clock.offset_seconds == known


class Ticking:
    """A clock on which an answer takes very long: between its two readings lies what is known."""

    def __init__(self, seconds: float) -> None:
        self._readings = iter([seconds - 3600, seconds + 3600])

    def __call__(self) -> float:
        return next(self._readings)


@pytest.mark.usefixtures("database")
def test_a_comparison_with_the_clock_is_served_by_an_index() -> None:
    execute("SET enable_seqscan = off")
    sql, values = Conversation.select().where(Conversation.updated_at < now()).sql()
    plan = str(database.execute_sql(f"EXPLAIN {sql}", values).fetchall())
    database.close()

    assert "conversation_age" in plan
    assert "Index Cond" in plan


@pytest.mark.usefixtures("database")
def test_who_needs_one_connection_for_all_statements_learns_of_its_loss(postgres: PostgresServer) -> None:
    database.close()
    with database.connection_context():
        execute("SELECT 1")
        end_connections(postgres)
        with pytest.raises(OperationalError):
            execute("SELECT 1")
    assert execute("SELECT 1").fetchone() == (1,)
