"""Erasing what is deleted and what is too old: all of it, logs too, a little at a time, by whoever has the turn."""

import asyncio
import dataclasses
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest

from models import erasure
from models.admission import admit
from models.conversation import Conversation
from models.database import read_now
from models.database_threads import DatabaseThreads
from models.ending import terminal_event
from models.erasure import DAY_SECONDS, mark_deleted
from models.event import EventId, Frame, Kind, Text, encode
from models.event_log import Append, EventLog, connect_redis, log_key
from models.generation import Generation, Status
from models.periodic import Schedule
from models.settings import Settings
from tasks import eraser, maintenance
from tasks.eraser import TRUNCATE_WITHIN_SECONDS, erase
from tasks.maintenance import Maintenance
from tests.models.rows import changed, pass_seconds, request, reread, running, tenant_id


@pytest.fixture
def worker(settings: Settings, threads: DatabaseThreads) -> Maintenance:
    return Maintenance(settings, threads, "owner")


@pytest.fixture
async def away(tmp_path: Any) -> AsyncIterator[EventLog]:
    """A Redis that is not there."""
    async with connect_redis(f"unix://{tmp_path}/gone.sock") as client:
        yield EventLog(client)


async def turn(
    settings: Settings, log: EventLog, *, conversation: str = "talk", said: bool = True, **columns: Any
) -> Generation:
    """An ended turn with its log, which has its last event if `said`."""
    row = admit(request(conversation=conversation), settings).generation
    ended = {"status": Status.DONE, "finish_reason": "stop", "finished_at": read_now(), "run": 1, "text": "answer"}
    row = changed(row, **(ended | {"terminal_id": "1-1", "terminal_published": said} | columns))
    frames = [Frame(EventId(1, 0), Kind.DELTA, encode(Text(text="answer")))]
    await log.append([Append(row.id, None, [*frames, terminal_event(row)] if said else frames, 600.0)])
    return row


def delete(name: str = "talk") -> int:
    marked = mark_deleted(tenant_id(), "visitor", name)
    assert marked is not None
    return marked.conversation_id


def names() -> list[str]:
    return [each.name for each in Conversation.select().order_by(Conversation.name)]


async def gone(log: EventLog, *rows: Generation) -> bool:
    ids = [row.id for row in rows]
    left = Generation.select().where(Generation.id.in_(ids)).count()
    return not left and await log.tails(ids) == [None] * len(ids)


async def test_what_is_deleted_is_erased_with_its_logs_and_nothing_else(
    worker: Maintenance, settings: Settings, log: EventLog
) -> None:
    rows = [await turn(settings, log) for _ in range(3)]
    other = await turn(settings, log, conversation="other")
    delete()

    await worker.take_turns(log)

    assert await gone(log, *rows)
    assert names() == ["other"]
    assert reread(other).text == "answer"
    assert await log.tails([other.id]) == [EventId(1, 1)]


async def test_what_runs_is_erased_when_it_has_ended(
    worker: Maintenance, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = running(settings)
    mark_deleted(tenant_id(), "visitor", Conversation.get().name)

    await worker.erase(log)
    assert reread(row).cancel_requested_at is not None

    changed(row, status=Status.CANCELLED, terminal_id="1-1", terminal_published=True, finished_at=read_now())
    await worker.erase(log)
    assert await gone(log, row)
    assert names() == []


async def test_who_watches_is_told_the_end_before_the_log_goes(
    worker: Maintenance, settings: Settings, log: EventLog, redis_url: str
) -> None:
    row = await turn(settings, log, said=False)
    delete()
    async with connect_redis(redis_url) as client, client.pubsub() as heard:
        await heard.subscribe(f"events:{{{row.id}}}:live")
        assert await heard.get_message(timeout=60)

        await worker.erase(log)

        message: Any = await heard.get_message(timeout=60)
        assert terminal_event(row).data in message["data"]
    assert await gone(log, row)


async def test_a_redis_that_is_away_leaves_what_leads_to_the_logs(
    worker: Maintenance, settings: Settings, log: EventLog, away: EventLog
) -> None:
    row = await turn(settings, log)
    delete()

    await worker.take_turns(away)
    assert reread(row).text == "answer"

    await worker.erase(log)
    assert await gone(log, row)


async def test_an_end_that_nobody_can_be_told_any_more_holds_nothing_up(
    worker: Maintenance, settings: Settings, log: EventLog
) -> None:
    row = await turn(settings, log, said=False)
    changed(row, finished_at=read_now() - row.retention_seconds - 1)
    delete()

    await worker.erase(log)

    assert await gone(log, row)


async def test_a_long_conversation_is_erased_a_batch_a_turn(
    settings: Settings, log: EventLog, threads: DatabaseThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (erasure, eraser):
        monkeypatch.setattr(module, "ERASE_ROWS", 2)
    rows = [await turn(settings, log) for _ in range(7)]
    conversation_id = delete()

    async def erase_some() -> tuple[bool, int]:
        return await erase(conversation_id, log, threads.run, max_rows=4), Generation.select().count()

    left = [await erase_some() for _ in range(3)]

    assert left == [(False, 3), (True, 0), (True, 0)]
    assert await gone(log, *rows)


async def test_any_number_of_erasers_at_once_do_no_harm(
    settings: Settings, log: EventLog, threads: DatabaseThreads
) -> None:
    rows = [await turn(settings, log, said=bool(number % 2)) for number in range(6)]
    conversation_id = delete()

    done = await asyncio.gather(*(erase(conversation_id, log, threads.run, max_rows=1000) for _ in range(5)))

    assert all(done)
    assert await gone(log, *rows)


# By age


def aged(settings: Settings, days: float) -> Settings:
    return dataclasses.replace(settings, conversation_days=days)


async def test_what_nobody_went_on_with_for_so_long_is_erased(
    settings: Settings, threads: DatabaseThreads, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Maintenance(aged(settings, 30), threads, "owner")
    old = await turn(settings, log, conversation="old")
    pass_seconds(monkeypatch, 31 * DAY_SECONDS)
    new = await turn(settings, log, conversation="new")
    alone = changed(await turn(settings, log), conversation=None, created_at=read_now() - 31 * DAY_SECONDS)

    await worker.take_turns(log)

    assert await gone(log, old, alone)
    assert reread(new).text == "answer"
    assert Conversation.select().where(Conversation.name == "old").count() == 0


async def test_nothing_is_erased_by_age_where_the_setting_says_never(
    settings: Settings, threads: DatabaseThreads, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await turn(settings, log)
    pass_seconds(monkeypatch, 10_000 * DAY_SECONDS)

    await Maintenance(aged(settings, 0), threads, "owner").take_turns(log)

    assert reread(row).text == "answer"


async def test_more_than_a_batch_goes_turn_by_turn_and_then_it_is_a_days_rest(
    settings: Settings, threads: DatabaseThreads, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (erasure, maintenance):
        monkeypatch.setattr(module, "ERASE_ROWS", 2)
    worker = Maintenance(aged(settings, 1), threads, "owner")
    for number in range(5):
        await turn(settings, log, conversation=f"c{number}")
    Conversation.update(updated_at=0).execute()

    left = []
    for _ in range(3):
        await worker.take_turns(log)
        left.append(Conversation.select().count())
        pass_seconds(monkeypatch, settings.sweep_seconds)
    assert left == [3, 1, 0]

    await turn(settings, log)
    Conversation.update(updated_at=0).execute()
    await worker.take_turns(log)
    assert Conversation.select().count() == 1
    pass_seconds(monkeypatch, DAY_SECONDS)
    await worker.take_turns(log)
    assert Conversation.select().count() == 0


async def test_a_redis_that_is_away_costs_the_purge_no_day(
    settings: Settings, threads: DatabaseThreads, log: EventLog, away: EventLog
) -> None:
    worker = Maintenance(aged(settings, 1), threads, "owner")
    row = changed(await turn(settings, log), conversation=None, created_at=0)

    await worker.take_turns(away)
    assert reread(row).text == "answer"

    await worker.take_turns(log)
    assert await gone(log, row)


# Turns


async def test_a_turn_is_one_process_alone(
    worker: Maintenance, settings: Settings, threads: DatabaseThreads, log: EventLog
) -> None:
    await worker.take_turns(log)
    row = await turn(settings, log)
    delete()

    await Maintenance(settings, threads, "another").take_turns(log)

    assert reread(row).text == "answer"
    assert {each.owner for each in Schedule.select()} == {"owner"}


@pytest.mark.one_store
async def test_the_write_ahead_file_is_emptied_now_and_then(
    worker: Maintenance, settings: Settings, log: EventLog
) -> None:
    await turn(settings, log)
    file = settings.data_path / "streamer.db-wal"
    assert file.stat().st_size

    await worker.take_turns(log)

    assert file.stat().st_size == 0


@pytest.mark.one_store
async def test_the_write_ahead_file_is_emptied_soon_after_an_erasure(
    worker: Maintenance, settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.take_turns(log)
    await turn(settings, log)
    delete()
    await worker.erase(log)
    file = settings.data_path / "streamer.db-wal"

    await worker.take_turns(log)
    assert file.stat().st_size
    pass_seconds(monkeypatch, TRUNCATE_WITHIN_SECONDS)
    await worker.take_turns(log)
    assert file.stat().st_size == 0


@pytest.mark.one_store
async def test_a_reader_in_the_way_of_that_is_waited_for_another_time(
    worker: Maintenance, settings: Settings, log: EventLog, database: Any
) -> None:
    await turn(settings, log)
    with sqlite3.connect(settings.data_path / "streamer.db", isolation_level=None) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM generation").fetchone()
        await turn(settings, log, conversation="another")
        await worker.take_turns(log)
        assert (settings.data_path / "streamer.db-wal").stat().st_size
        other.execute("ROLLBACK")
    other.close()

    await worker.take_turns(log)
    assert (settings.data_path / "streamer.db-wal").stat().st_size == 0


@pytest.mark.one_store
async def test_no_statement_reads_the_whole_table(
    settings: Settings, threads: DatabaseThreads, log: EventLog, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Maintenance(aged(settings, 1), threads, "owner")
    await turn(settings, log, said=False)
    alone = await turn(settings, log, conversation="another")
    changed(alone, conversation=None, created_at=0)
    delete()
    statements: list[tuple[str, Any]] = []
    execute = database.execute_sql

    def noted(sql: str, params: Any = None) -> Any:
        statements.append((sql, params))
        return execute(sql, params)

    monkeypatch.setattr(database, "execute_sql", noted)
    await worker.take_turns(log)
    monkeypatch.undo()

    plans = [
        row[3]
        for sql, params in statements
        if sql.startswith(("SELECT", "UPDATE", "DELETE"))
        for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
    ]
    assert len(plans) >= 8
    assert not [plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan and "CONSTANT" not in plan]


async def test_a_log_is_erased_by_a_command_of_its_own(settings: Settings, log: EventLog) -> None:
    first, second = await turn(settings, log), await turn(settings, log, conversation="another")
    await log.delete(first.id, second.id, "none")

    assert not await log.client.exists(log_key(first.id), log_key(second.id))
