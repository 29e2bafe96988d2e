"""Who watches: an independent client of the real event stream, which shows, resumes and ends as a browser does."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any

from models.event import EventId
from tests.stateful.web import Web
from tests.streamer.frames import Event, parse


class Viewer:
    """What one visitor's page shows of one generation, over all its connections."""

    def __init__(self, name: str, generation_id: str, taken: Callable[["Viewer", Event], None]) -> None:
        self.name = name
        self.id = generation_id
        self.shown = ""
        self.cursor: str | None = None
        self.forged = False
        """Whether its cursor was once made up: then it may lack what it claims to have."""
        self.ended = False
        self.connection: Connection | None = None
        self._taken = taken

    def take(self, event: Event) -> None:
        if event.id is not None:
            self.cursor = event.id
        match event.kind:
            case "delta":
                self.shown += event.data["text"]
            case "started":
                self.shown = ""
            case "snapshot":
                self.shown = event.data["text"]
            case "done" | "failed":
                self.ended = True
        self._taken(self, event)

    def connect(self, web: Web, cut_after: int | None) -> None:
        """Asks for the events after the cursor. The connection breaks after `cut_after` events (None: it doesn't)."""
        self.connection = Connection(self, web, cut_after)
        web.spawn(self.connection.run())


class Connection:
    """One request for the event stream."""

    def __init__(self, viewer: Viewer, web: Web, cut_after: int | None) -> None:
        self.web = web
        self.status = 0
        self.last: EventId | None = None
        """The newest event's id, the cursor of nothing aside."""
        self.resumed = EventId.parse(viewer.cursor) if viewer.cursor is not None and not viewer.forged else None
        """The cursor that it earned before."""
        self._viewer = viewer
        self._left = cut_after
        self._gone = asyncio.Event()

    async def run(self) -> None:
        cursor = self._viewer.cursor
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": f"/ai/v1/chat/{self._viewer.id}/events",
            "query_string": b"",
            "headers": [(b"last-event-id", cursor.encode())] if cursor is not None else [],
        }
        await self.web.stream(scope, self._receive, self._send)
        if self.status == 204:
            self._viewer.take(Event(None, "no content", None))
        self.cut()

    def cut(self) -> None:
        self._gone.set()
        if self._viewer.connection is self:
            self._viewer.connection = None

    async def _receive(self) -> MutableMapping[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        for event in parse(message["body"]) if self.status == 200 else ():
            if self._gone.is_set():
                return
            self._viewer.take(event)
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self.cut()
