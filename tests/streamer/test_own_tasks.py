"""Tasks that nobody waits for: a defect is told, an absent Redis is none, and their owner ends them."""

import asyncio

import pytest

from streamer.own_tasks import OwnTasks


async def test_a_defect_is_told_without_what_it_says_and_an_absent_redis_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = OwnTasks("a look")

    async def fail(error: Exception) -> None:
        raise error

    failing = [tasks.spawn(fail(error)) for error in (ValueError("a secret"), TimeoutError())]
    await asyncio.wait(failing)
    (told,) = caplog.messages
    assert told.startswith("a look broke off: ValueError")
    assert "a secret" not in told


async def test_the_owner_ends_what_is_left_and_who_waited_has_the_result() -> None:
    tasks = OwnTasks("a look")
    endless = tasks.spawn(asyncio.sleep(3600))
    assert await tasks.spawn(asyncio.sleep(0, "seen")) == "seen"
    await tasks.close()
    assert endless.cancelled()
