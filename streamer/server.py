"""Our own uvicorn server: its drain begins with the signal, not after the last connection has closed."""

import logging
import socket
from types import FrameType

import uvicorn

from models.database import connect
from models.errors import SettingInvalid
from models.kill_point import check_kill_point
from models.settings import Settings
from streamer.app import Application, create_app

logger = logging.getLogger(__name__)

#: Connections that wait to be accepted.
BACKLOG = 2048


class Server(uvicorn.Server):
    """Tells the viewers of open streams to come back elsewhere as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, app: Application) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._app.hub is not None:
            self._app.hub.drain()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> int:
    """Runs a web process until SIGTERM or SIGINT, and returns the exit code. Raises SettingInvalid."""
    check_kill_point(settings)
    connect(settings)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, int(settings.web_drain_seconds)),
        timeout_keep_alive=15,
        ws="none",
    )
    with _listening_socket(settings) as listening:
        server = Server(config, app)
        server.run(sockets=[listening])
    return 0 if server.started else 1


def _listening_socket(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
