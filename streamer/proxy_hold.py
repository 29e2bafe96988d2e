"""A caller that is held until its answer is there, and what becomes of the answer where the caller hangs up."""

import asyncio
import contextlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models.errors import NotFound, Unavailable
from models.event_log import LOG_AWAY
from models.generation import Generation
from streamer.auth import Server
from streamer.channel import Viewer
from streamer.chat import cancel
from streamer.connection import break_off
from streamer.event_stream import EventStream, notice_leaving, start
from streamer.services import Services
from tasks.end_tasks import end_tasks


async def hold(request: Request, services: Services, generation_id: str, seconds: float) -> bool:
    """Returns when the generation has ended, the time is over, or the process stops. False: the caller hung up before that."""
    viewer = await services.hub.join(generation_id, None)
    leaving = asyncio.create_task(notice_leaving(request.receive, viewer))
    try:
        await _until_over(viewer, seconds)
        return viewer.channel.ended or not viewer.gone
    finally:
        services.hub.leave(viewer)
        await end_tasks(leaving)


async def cancel_left(services: Services, server: Server, generation_id: str) -> None:
    """Cancels what its caller left, after a grace in which it may end, or somebody else may begin to watch it.

    Somebody else is whoever repeated the request with its key, or resumed its stream, in this process or another.
    """
    viewer = await services.hub.join(generation_id, None)
    try:
        await _until_over(viewer, services.settings.hang_up_seconds)
        if viewer.channel.ended or await _is_watched(services, viewer):
            return
    finally:
        services.hub.leave(viewer)
    with contextlib.suppress(NotFound, Unavailable):  # nobody is there to be told
        await cancel(services, generation_id, server.tenant_id, "")


async def _until_over(viewer: Viewer, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not (viewer.channel.ended or viewer.gone or viewer.closing is not None):
                await viewer.wait()


async def _is_watched(services: Services, viewer: Viewer) -> bool:
    """Whether there is a viewer beside this one. Where Redis is away, only this process is seen."""
    processes = 0
    with contextlib.suppress(*LOG_AWAY):
        processes = await services.log.listeners(viewer.channel.id)
    return len(viewer.channel.viewers) > 1 or processes > 1


class StreamedAnswer(Response):
    """The events of a generation in the answer to the POST that began it."""

    def __init__(self, services: Services, server: Server, row: Generation, headers: dict[str, str]) -> None:
        super().__init__()
        self._services = services
        self._server = server
        self._row = row
        self._more = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await start(scope, send, self._more)
        told = await EventStream(self._services).stream(self._row, None, self._server.as_viewer(), receive, send)
        if not told:
            await break_off(scope)
            await cancel_left(self._services, self._server, self._row.id)
