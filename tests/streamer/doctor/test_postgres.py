"""What the doctor sees of a Postgres."""

from collections.abc import Callable
from typing import Any

import pytest

from models.settings import Settings
from streamer.doctor import files, store
from streamer.doctor import postgres as module
from streamer.doctor.check import Verdict
from streamer.doctor.command import doctor
from tests.postgres_server import PostgresServer
from tests.streamer.doctor.finding import found, only


@pytest.fixture
def at(settings: Settings) -> Callable[[str], Settings]:
    """The settings with another DATABASE_URL."""
    return lambda url: Settings(data=settings.data, database_url=url)


def test_a_server_that_does_is_fine(test_database: Any, at: Callable[[str], Settings]) -> None:
    settings = at(test_database.empty())
    finding = only(store.store, settings)

    assert finding.verdict is Verdict.OK
    assert "takes writes" in finding.found
    assert "postgres=" not in finding.found
    assert only(store.migrations, settings).verdict is Verdict.OK
    assert only(store.workers, settings).found == "no worker has given a sign of life"


def test_tables_that_are_missing_are_told(postgres: PostgresServer, at: Callable[[str], Settings]) -> None:
    settings = at(postgres.make("unmigrated"))

    assert only(store.store, settings).verdict is Verdict.OK
    assert only(store.migrations, settings).change == "`streamer migrate`"
    assert only(files.secret, settings).verdict is Verdict.OK


def test_a_server_that_is_away_is_told_without_its_password(
    at: Callable[[str], Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = at("postgresql://user:canary-of-the-password@127.0.0.1:1/chat?connect_timeout=2")

    assert only(store.store, settings).found.startswith("127.0.0.1:1/chat can't be used (")
    assert only(store.migrations, settings).verdict is Verdict.FAILED
    assert doctor(settings, online=False, in_json=False) == 1
    assert "canary" not in capsys.readouterr().out


def test_what_will_not_do_is_told(
    test_database: Any, at: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    only_read = at(f"{test_database.empty()}&options=-c%20default_transaction_read_only%3Don")
    assert only(store.store, only_read).found.endswith(" takes no write")

    monkeypatch.setattr(module, "OLDEST", 999)
    assert only(store.store, at(test_database.url)).change == "Postgres 999 or newer"


def test_an_encoding_and_a_want_of_connections_are_told(
    postgres: PostgresServer, at: Callable[[str], Settings], settings: Settings
) -> None:
    with postgres.connection() as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert only(store.store, at(postgres.url("latin"))).change == "a database made with ENCODING 'UTF8'"

    many = Settings(data=settings.data, database_url=postgres.url("postgres"), database_threads=500)
    (short, fine) = found(store.store, many)
    assert (short[0], fine[0]) == ("warning", "ok")
