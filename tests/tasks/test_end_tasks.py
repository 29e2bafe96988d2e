"""Tasks end when they are told to, also those whose first cancel was swallowed."""

import asyncio

from tasks.end_tasks import end_tasks


async def forever() -> None:
    await asyncio.Event().wait()


async def deaf(cancels: int) -> None:
    """Goes on after so many cancels, as `asyncio.wait_for` does in the moment of its success."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancels -= 1
            if cancels < 0:
                raise


async def failing() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ZeroDivisionError


async def test_tasks_end_however_often_they_must_be_told() -> None:
    tasks = [asyncio.create_task(each) for each in (forever(), deaf(0), deaf(1), deaf(2), failing())]
    await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await end_tasks(*tasks)

    assert [task.cancelled() for task in tasks] == [True, True, True, True, False]


async def test_what_has_ended_before_is_no_trouble() -> None:
    done = asyncio.create_task(asyncio.sleep(0))
    await done

    await end_tasks(done)
    await end_tasks()
