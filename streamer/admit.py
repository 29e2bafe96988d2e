"""Lets a request in or refuses it: its visitor's window of requests first, in Redis, then the transaction that stores it."""

import contextlib
from dataclasses import replace

from models import admission
from models.admission import Admitted
from models.dispatch import WAITS
from models.errors import RateLimited, RequestError, Unavailable
from models.event_log import LOG_AWAY
from models.kill_point import reach
from models.rate_limit import Limit, Window, window_key
from streamer.services import Services


async def admit(
    services: Services, request: admission.Request, counted: tuple[str, Limit] | None = None
) -> tuple[Admitted, Window]:
    """The generation and the window afterwards. Only what is newly stored takes a place in it.

    `counted`: the window's key and limit, where it is not the visitor's.

    Raises RateLimited, with the window; whatever `admission.admit` raises; Unavailable where Redis or the database is away. Then
    nothing is stored.
    """
    if counted is None:
        key = window_key(request.tenant_id, request.route_name, request.visitor)
        counted = key, Limit.of(request.route, services.settings)
    window = await services.count_request(*counted)
    if not window.admitted:
        repeated = await services.threads.run(admission.find_repeated, request)
        if repeated is None:
            raise _refusal(window)
        return repeated, window
    try:
        admitted = await services.threads.run(admission.admit, request, services.settings)
    except RequestError as error:
        window = await _given_back(services, window)
        if isinstance(error, RateLimited):
            error.window = window
        raise
    return admitted, window if admitted.fresh else await _given_back(services, window)


async def hand_on(services: Services, admitted: Admitted) -> None:
    """Enqueues what was newly stored, unless it waits for its tenant's turn.

    Where that fails, a sweeper does it: the row is committed.
    """
    if admitted.fresh and admitted.generation.enqueue_at < WAITS:
        reach("after_commit", services.settings)
        with contextlib.suppress(Unavailable):
            await services.enqueue(admitted.generation.id)
        reach("after_enqueue", services.settings)


async def _given_back(services: Services, window: Window) -> Window:
    """The window without this request. Where Redis is away by now, the request keeps its place."""
    with contextlib.suppress(*LOG_AWAY):
        await services.rate_limit.give_back(window)
        return replace(window, count=window.count - 1)
    return window


def _refusal(window: Window) -> RateLimited:
    requests, seconds = window.limit
    error = RateLimited(
        f"{requests} requests in {seconds:g} s are allowed here; try again in {window.reset_seconds} s.",
        retry_after_seconds=window.reset_seconds,
        limit="requests",
    )
    error.window = window
    return error
