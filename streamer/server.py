"""Our own uvicorn server: its drain begins with the signal, not after the last connection has closed."""

import asyncio
import logging
import math
import signal
import socket
import sys
from types import FrameType

import uvicorn

from models.database import connect
from models.errors import SettingInvalid
from models.host_claim import check_host
from models.kill_point import check_kill_point
from models.settings import Settings
from streamer.app import Application, create_app
from streamer.connection import Connection, connection_class
from tasks.end_tasks import end_tasks

logger = logging.getLogger(__name__)

#: Connections that wait to be accepted.
BACKLOG = 2048

#: Seconds that an idle connection is kept: longer than proxies keep theirs (60 s at most), or they send into one that closes.
KEEP_ALIVE_SECONDS = 75

#: Ticks of uvicorn, of 0.1 s, between two looks at all connections.
LOOK_TICKS = 10

#: Bytes that the kernel keeps for one reader; Linux takes twice as many, for its own overhead too.
SEND_BUFFER = 64 * 1024


class Server(uvicorn.Server):
    """Tells the viewers of open streams to come back elsewhere as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, app: Application, drain_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds

    async def on_tick(self, counter: int) -> bool:
        # The one wheel of all connections; it turns until a stop, which has a limit of its own.
        if counter % LOOK_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.look(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cutting = asyncio.create_task(self._cut_late())
        try:
            await super().shutdown(sockets)
        finally:
            await end_tasks(cutting)

    async def _cut_late(self) -> None:
        """Breaks off what is still open when the drain is over, so that its request ends as if its client had left."""
        await asyncio.sleep(self._drain_seconds)
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.abort()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # In place of uvicorn's own, which in the end would raise the signal again: a stop that was asked for is exit code 0.
        self._app.drain()
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True


def serve(settings: Settings, inherited: int | None = None) -> int:
    """Runs a web process until SIGTERM or SIGINT, and returns the exit code. Raises SettingInvalid.

    `inherited` is the descriptor of a socket that listens already, which other processes have as well.
    """
    app = prepare(settings)
    with listening_socket(settings) if inherited is None else socket.socket(fileno=inherited) as listening:
        server = Server(configuration(app, settings), app, settings.web_drain_seconds)
        server.run(sockets=[listening])
    return 0 if server.started else 1


def prepare(settings: Settings) -> Application:
    """The application, with its database connected. Raises SettingInvalid for whatever keeps it from starting, in one line."""
    check_kill_point(settings)
    connect(settings)
    check_host()
    return create_app(settings)


def configuration(app: Application, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves `app`."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=connection_class(settings),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=math.ceil(settings.web_drain_seconds) + 1,  # what `_cut_late` did not end
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ws="none",
        forwarded_allow_ips=settings.trusted_proxies,  # said here, or uvicorn reads an environment variable of its own
    )


def listening_socket(settings: Settings) -> socket.socket:
    """What connections come in by; they inherit its options. Raises SettingInvalid where the address can't be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # What a reader that stalls may cost here, and for how long: closing a socket alone waits for such a reader.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if sys.platform == "linux":
        milliseconds = max(1, int(settings.send_timeout_seconds * 1000))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        reason = error.strerror or type(error).__name__
        raise SettingInvalid(
            f"{settings.host}:{settings.port} can't be listened on ({reason}): choose another --port or --host"
        ) from None
    listening.listen(BACKLOG)
    listening.set_inheritable(True)
    return listening
