"""`streamer up`: the whole service on one machine, in the foreground, from one command to one Ctrl-C."""

import contextlib
import http.client
import logging
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from models.database import connect, database
from models.host_claim import check_host
from models.route import Route
from models.route_file import load_providers
from models.secret import Secret, load_secret
from models.settings import Settings, env_name, is_given
from streamer.data_folder import DataFolder
from streamer.embedded_redis import EmbeddedRedis
from streamer.first_key import FirstKey, ensure_first_key
from streamer.listen_address import free_port, public_url
from streamer.local_model import HOST as LOCAL_HOST
from streamer.open_files import raise_open_files
from streamer.part import Part, streamer_command
from streamer.supervisor import Supervisor
from streamer.welcome import welcome
from tasks.providers.local_weights import find_weights
from tasks.route_checks import load_checked_routes

logger = logging.getLogger(__name__)

READY_SECONDS = 30.0

#: What a worker's generations get to end in, where the settings say nothing else; and what it gets beyond that.
DRAIN_SECONDS, DRAIN_MARGIN_SECONDS = 5.0, 3.0

#: A stop as a whole stays within 15 s: web 10 s, the worker from 4 s on 8 s, a local model 0.5 s, Redis 2 s.
WEB_STOP_SECONDS, WORKER_PATIENCE_SECONDS, LOCAL_STOP_SECONDS = 10.0, 4.0, 0.5


def up(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT, and returns the exit code.

    Raises SettingInvalid where the settings, the folder, the port or the machine don't allow it, or a part does not get ready.
    """
    os.umask(0o077)  # what the parts write is their owner's alone
    with DataFolder(settings) as folder, contextlib.ExitStack() as stack:
        settings = replace(settings, port=free_port(settings.host, settings.port))
        local = local_part(settings) if wants_local_model(settings, load_checked_routes(settings)) else None
        secret = load_secret(settings)
        key = _prepare_database(settings, secret)
        raise_open_files()
        redis = None if settings.redis_url else stack.enter_context(EmbeddedRedis(settings))
        logger.info("starting on %s", folder.path)
        supervisor = stack.enter_context(Supervisor())
        env = {env_name("redis_url"): redis.url} if redis else {}
        if redis:
            supervisor.start(redis.part, READY_SECONDS)
        if local:
            supervisor.start(local, READY_SECONDS)
        supervisor.start(worker_part(settings, {**env, **(local.env if local else {})}), READY_SECONDS)
        supervisor.start(web_part(settings, env), READY_SECONDS)
        url = public_url(settings.host, settings.port)
        folder.tell(url)
        welcome(settings, secret, url, key, sys.stdout)
        supervisor.run()
    return 0


def worker_part(settings: Settings, env: Mapping[str, str]) -> Part:
    """The worker. It gets its stop signal when the web process is gone, or WORKER_PATIENCE_SECONDS after that got its own."""
    drain_seconds = DRAIN_SECONDS if not is_given("worker_drain_seconds") else settings.worker_drain_seconds
    return Part(
        name="worker",
        command=[*streamer_command("worker"), "--data", str(settings.data_path)],
        env={**env, env_name("worker_drain_seconds"): f"{drain_seconds:g}"},
        stop_seconds=drain_seconds + DRAIN_MARGIN_SECONDS,
        patience_seconds=WORKER_PATIENCE_SECONDS,
    )


def wants_local_model(settings: Settings, routes: Mapping[str, Route]) -> bool:
    """Whether a route may ask the `local` provider, and nobody else runs its model."""
    configs = load_providers(settings)
    used = {name for route in routes.values() for name in route.providers}
    return not settings.local_base_url and any(configs[name].kind == "local" for name in used)


def local_part(settings: Settings) -> Part:
    """The local model; its `env` is what a worker needs as well. It stops when the worker has.

    Raises SettingInvalid where its packages are missing.
    """
    find_weights()
    port = free_port(LOCAL_HOST, 0)
    url = public_url(LOCAL_HOST, port)
    key = settings.local_api_key or secrets.token_urlsafe(32)
    return Part(
        name="local-model",
        command=[*streamer_command("local-model"), "--port", str(port)],
        env={env_name("local_base_url"): f"{url}/v1", env_name("local_api_key"): key},
        ready=lambda: _answers(url, "/health"),
        stop_seconds=LOCAL_STOP_SECONDS,
    )


def web_part(settings: Settings, env: Mapping[str, str]) -> Part:
    """The web process; ready when its /readyz says so, and with it everything that it needs."""
    address = ["--host", settings.host, "--port", str(settings.port)]
    return Part(
        name="web",
        command=[*streamer_command("serve"), "--data", str(settings.data_path), *address],
        env=env,
        ready=lambda: answers_ready(public_url(settings.host, settings.port)),
        stop_seconds=WEB_STOP_SECONDS,
    )


def answers_ready(url: str) -> bool:
    """Whether `/readyz` answers 200 within a second."""
    return _answers(url, "/readyz")


def _answers(url: str, path: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=1.0)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


def _prepare_database(settings: Settings, secret: Secret) -> FirstKey:
    connect(settings, migrating=True)
    check_host()
    with database.connection_context():
        return ensure_first_key(settings, secret)
