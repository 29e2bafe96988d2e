"""Every setting, once: its environment variable, default, unit and help. Nothing else reads the environment."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from models.errors import SettingInvalid


def setting(
    default: Any, help: str, *, unit: str = "", env: str = "", minimum: float | None = None, secret: bool = False
) -> Any:
    """A dataclass field that carries what `docs/configuration.md` and `--help` say about it."""
    metadata = {"help": help, "unit": unit, "env": env, "minimum": minimum}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The product's settings. Durations are seconds, sizes bytes; each can be shortened, so that tests run the same code."""

    # Where things are
    data: str = setting(
        "./data", "the data folder: database, private Redis, secret, first API key", env="STREAMER_DATA"
    )
    host: str = setting("127.0.0.1", "address that the web server listens on", env="STREAMER_HOST")
    port: int = setting(8000, "port that the web server listens on", env="STREAMER_PORT", minimum=0)
    database_url: str = setting(
        "", "sqlite:///path or postgresql://…; empty: SQLite in the data folder", env="DATABASE_URL", secret=True
    )
    redis_url: str = setting(
        "",
        "redis://…, rediss://… or unix://…; empty: the private Redis that `streamer up` runs",
        env="REDIS_URL",
        secret=True,
    )
    broker_url: str = setting(
        "",
        "the queue's own Redis; empty: the logical database after REDIS_URL's",
        env="STREAMER_BROKER_URL",
        secret=True,
    )
    routes_file: str = setting(
        "",
        "the routes' file; empty: ./streamer.toml, else <data>/streamer.toml, else the built-in route",
        env="STREAMER_ROUTES",
    )
    secret: str = setting(
        "",
        "what tokens, tickets and key hashes derive from, 32 characters or more; empty: <data>/secret",
        env="STREAMER_SECRET",
        secret=True,
    )
    log_level: str = setting("INFO", "DEBUG, INFO, WARNING or ERROR", env="STREAMER_LOG_LEVEL")

    no_color: str = setting("", "any text: no colours, on a terminal either", env="NO_COLOR")

    kill_point: str = setting("", "for tests: the place at which the process kills itself", env="STREAMER_KILL_POINT")

    # Providers
    model: str = setting(
        "",
        "the built-in route's model as provider:model; empty: openai:gpt-4o-mini with OPENAI_API_KEY, "
        "anthropic:claude-haiku-4-5 with ANTHROPIC_API_KEY, else demo:echo",
        env="STREAMER_MODEL",
    )
    openai_api_key: str = setting("", "key of the `openai` provider", env="OPENAI_API_KEY", secret=True)
    openai_base_url: str = setting(
        "https://api.openai.com/v1", "base address of the `openai` provider, with /v1", env="OPENAI_BASE_URL"
    )
    anthropic_api_key: str = setting("", "key of the `anthropic` provider", env="ANTHROPIC_API_KEY", secret=True)
    anthropic_base_url: str = setting(
        "https://api.anthropic.com", "base address of the `anthropic` provider, without /v1", env="ANTHROPIC_BASE_URL"
    )
    demo_tokens_per_second: float = setting(40.0, "pace of the `demo` provider", unit="tokens/s", minimum=0.1)
    local_slots: int = setting(
        4, "answers at once of the `local` model, a very small one for trying things out; 64 at most", minimum=1
    )
    local_base_url: str = setting(
        "",
        "where `streamer local-model` answers, with /v1; empty: `streamer up` runs one itself where a route wants it",
    )
    local_api_key: str = setting("", "its key; empty: made at random at each start", secret=True)
    provider_connect_seconds: float = setting(10.0, "time to connect to a provider", unit="s", minimum=0.01)
    provider_first_byte_seconds: float = setting(60.0, "time to a provider's first byte", unit="s", minimum=0.01)
    provider_idle_seconds: float = setting(30.0, "time between two chunks of a provider", unit="s", minimum=0.01)
    attempts_per_model: int = setting(3, "calls to one model before its first text, with pauses between", minimum=1)
    backoff_seconds: float = setting(
        0.5,
        "pause after the first failed call, doubling with each; up to a quarter less, at random",
        unit="s",
        minimum=0,
    )
    max_backoff_seconds: float = setting(8.0, "the longest of these pauses", unit="s", minimum=0)
    max_retry_after_seconds: float = setting(
        30.0, "longest pause that a provider may ask for; beyond it its model is given up at once", unit="s", minimum=0
    )
    breaker_failures: int = setting(
        10, "failures in a row, of the provider's own fault, after which a model is not called for a while", minimum=1
    )
    breaker_window_seconds: float = setting(60.0, "time in which these come", unit="s", minimum=0.05)
    breaker_cool_down_seconds: float = setting(
        5.0, "how long such a model is not called; then one call probes it", unit="s", minimum=0.05
    )
    breaker_max_cool_down_seconds: float = setting(
        120.0, "the longest cool-down: it doubles with each probe that fails", unit="s", minimum=0.05
    )
    breaker_probe_seconds: float = setting(
        60.0, "time for a probe to bring something; then another call may probe", unit="s", minimum=0.05
    )

    # Generations
    lease_seconds: float = setting(9.0, "how long a worker owns a generation without renewing", unit="s", minimum=0.5)
    renew_seconds: float = setting(
        3.0, "between two renewals, each of which checkpoints the text", unit="s", minimum=0.05
    )
    sweep_seconds: float = setting(2.0, "between two looks for what was left behind", unit="s", minimum=0.05)
    reenqueue_seconds: float = setting(
        4.0, "after which an unclaimed generation is enqueued again, doubling each time", unit="s", minimum=0.05
    )
    max_crashes: int = setting(3, "runs of one generation that may die with their worker", minimum=1)
    max_calls: int = setting(6, "provider calls for one generation", minimum=1)
    deadline_seconds: float = setting(600.0, "from POST to the end of a generation at the latest", unit="s", minimum=1)
    retention_seconds: float = setting(300.0, "how long an event log outlives its generation", unit="s", minimum=1)
    max_input_tokens: int = setting(
        16_000, "what a model is told at most: prompt, turns before and new message", unit="tokens", minimum=1
    )
    cache_seconds: float = setting(
        600.0, "how long a finished answer serves the same request again; 0: never", unit="s", minimum=0
    )
    append_window_seconds: float = setting(
        0.025, "at most one append per generation in this time; the first delta goes at once", unit="s", minimum=0
    )
    max_unsent_bytes: int = setting(
        4 * 1024 * 1024,
        "frames that a run keeps for healing its log; beyond it a snapshot heals",
        unit="bytes",
        minimum=1024,
    )
    max_answer_bytes: int = setting(
        1024 * 1024,
        "an answer's size in UTF-8, with reasoning and tool calls; beyond it it ends there",
        unit="bytes",
        minimum=1,
    )
    finish_flush_seconds: float = setting(
        2.0, "how long the end of a generation waits for a Redis that is away", unit="s", minimum=0.05
    )

    # Limits
    max_requests: int = setting(30, "requests of one visitor to one route in the window", minimum=1)
    request_window_seconds: float = setting(300.0, "the window that requests are counted in", unit="s", minimum=1)
    max_open_per_visitor: int = setting(10, "generations of one visitor that wait or run", minimum=1)
    max_open_per_tenant: int = setting(2000, "generations of one tenant that wait or run", minimum=1)
    max_open: int = setting(20_000, "generations of all tenants that wait or run", minimum=1)
    max_in_broker_per_tenant: int = setting(
        0,
        "generations of one tenant that the queue and its workers hold; 0: as many as workers have slots, of which an eighth "
        "is kept for tenants that hold few",
        minimum=0,
    )
    max_key_requests: int = setting(600, "requests of one API key to /v1 in its window", minimum=1)
    key_window_seconds: float = setting(60.0, "the window that these are counted in", unit="s", minimum=1)
    conversation_days: float = setting(
        60.0, "age, since its last turn, at which a conversation is erased; 0: never", unit="days", minimum=0
    )

    # Worker
    worker_threads: int = setting(200, "generations at once in one worker process", minimum=1)
    database_threads: int = setting(4, "database threads in one process", minimum=1)
    heartbeat_seconds: float = setting(
        10.0, "age at which a worker's heartbeat counts as missing", unit="s", minimum=0.1
    )
    worker_drain_seconds: float = setting(
        60.0, "what a stopping worker gives its generations to end", unit="s", minimum=0
    )

    # Web
    session_seconds: int = setting(900, "default life of a visitor token", unit="s", minimum=1)
    max_session_seconds: int = setting(
        86400, "longest life of a visitor token that can be asked for", unit="s", minimum=1
    )
    grant_seconds: int = setting(
        43200, "life of the grant in the address that `streamer up` prints", unit="s", minimum=1
    )
    admin_session_seconds: int = setting(14400, "life of a sign-in to the admin pages", unit="s", minimum=1)
    max_sign_ins: int = setting(20, "failed sign-ins to the admin pages from one address in a minute", minimum=1)
    trusted_proxies: str = setting(
        "127.0.0.1,::1", "addresses and networks whose `X-Forwarded-For` and `-Proto` are believed"
    )
    status_seconds: float = setting(
        2.0, "between two looks at the figures of the status page, while anybody watches", unit="s", minimum=0.05
    )
    max_message_bytes: int = setting(32 * 1024, "a message's size in UTF-8", unit="bytes", minimum=1)
    max_body_bytes: int = setting(64 * 1024, "a request body's size on /ai/v1", unit="bytes", minimum=1)
    max_direct_body_bytes: int = setting(4 * 1024 * 1024, "a request body's size on /v1/chat", unit="bytes", minimum=1)
    head_seconds: float = setting(
        8.0, "time for a request's head to arrive, a new connection's first one included", unit="s", minimum=0.1
    )
    body_seconds: float = setting(8.0, "time for a request body to arrive", unit="s", minimum=0.1)
    max_wait_seconds: float = setting(25.0, "longest ?wait= of a poll", unit="s", minimum=0)
    response_seconds: float = setting(
        25.0, "how long /v1/chat holds a request for its answer; then 504 with its id", unit="s", minimum=1
    )
    hang_up_seconds: float = setting(
        2.0, "grace for a caller of /v1/chat that hung up; then its answer is cancelled", unit="s", minimum=0
    )
    signing_overlap_seconds: float = setting(
        86400.0, "how long results bear the earlier signature too, after a rotation", unit="s", minimum=0
    )
    keepalive_seconds: float = setting(10.0, "between two bytes on a silent stream, under 15", unit="s", minimum=0.05)
    idle_check_seconds: float = setting(
        5.0, "silence after which a live generation's row and log are looked at again", unit="s", minimum=0.05
    )
    max_viewers: int = setting(10_000, "event streams in one web process", minimum=1)
    max_stream_seconds: float = setting(
        600.0,
        "age at which an event stream is asked to come back on a new connection, up to a fifth sooner",
        unit="s",
        minimum=0.1,
    )
    send_timeout_seconds: float = setting(25.0, "after which a viewer that takes nothing is cut", unit="s", minimum=0.1)
    web_drain_seconds: float = setting(8.0, "what a stopping web process gives its connections", unit="s", minimum=0)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """Settings from the environment; `overrides` (from the command line) win, None among them does not count.

        Raises SettingInvalid, which names the variable to change.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for item in fields(cls):
            raw = environ.get(env_name(item.name), "")
            if raw != "":
                values[item.name] = _parsed(item.name, raw)
        values |= {name: value for name, value in overrides.items() if value is not None}
        settings = cls(**values)
        for item in fields(cls):
            _check_minimum(item.name, getattr(settings, item.name))
        if settings.renew_seconds >= settings.lease_seconds:
            raise SettingInvalid("STREAMER_RENEW_SECONDS must be below STREAMER_LEASE_SECONDS")
        return settings

    @classmethod
    def from_good_environ(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> "Settings":
        """The same without the variables that `environ_mistakes` tells: what a search for mistakes goes on with.

        Raises SettingInvalid for an override that is wrong.
        """
        environ = os.environ if environ is None else environ
        wrong = environ_mistakes(environ)
        return cls.from_environ({name: raw for name, raw in environ.items() if name not in wrong}, **overrides)

    def variable(self, name: str) -> str:
        """What a variable holds that a file names: a setting's own value where it is one's, else the environment's."""
        own = next((item.name for item in fields(self) if env_name(item.name) == name), None)
        return str(getattr(self, own)) if own else os.environ.get(name, "")

    @property
    def data_path(self) -> Path:
        return Path(self.data).absolute()

    @property
    def default_model(self) -> str:
        """The built-in route's model as provider:model."""
        if self.openai_api_key:
            keyed = "openai:gpt-4o-mini"
        else:
            keyed = "anthropic:claude-haiku-4-5" if self.anthropic_api_key else "demo:echo"
        return self.model or keyed


_FIELDS = {item.name: item for item in fields(Settings)}


def env_name(name: str) -> str:
    """The environment variable of the setting `name`."""
    return cast("str", _FIELDS[name].metadata["env"]) or f"STREAMER_{name.upper()}"


def is_given(name: str) -> bool:
    """Whether the environment gives the setting `name`, rather than its default."""
    return bool(os.environ.get(env_name(name)))


def environ_mistakes(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Each variable whose value won't do, with what is wrong; empty where the environment is fine."""
    environ = os.environ if environ is None else environ
    given = {env_name(name): environ[env_name(name)] for name in _FIELDS if env_name(name) in environ}
    pair = (env_name("renew_seconds"), env_name("lease_seconds"))
    alone = {name: raw for name, raw in given.items() if name not in pair}
    mistakes = {name: fault for name, raw in alone.items() if (fault := _fault({name: raw}))}
    if fault := _fault({name: given[name] for name in pair if name in given}):
        mistakes |= {name: fault for name in pair if name in given}
    return mistakes


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Variables that are named like ours and are no settings: misspelt, or of another version."""
    environ = os.environ if environ is None else environ
    known = {env_name(name) for name in _FIELDS}
    return sorted(name for name in environ if name.startswith("STREAMER_") and name not in known)


def _fault(given: Mapping[str, str]) -> str:
    try:
        Settings.from_environ(given)
    except SettingInvalid as error:
        return error.message
    return ""


def _parsed(name: str, raw: str) -> Any:
    kind = _FIELDS[name].type
    try:
        return raw if kind is str else int(raw) if kind is int else float(raw)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise SettingInvalid(f"{env_name(name)} must be {wanted}, not {raw!r}") from None


def _check_minimum(name: str, value: Any) -> None:
    minimum = _FIELDS[name].metadata["minimum"]
    if minimum is None:
        return
    if not math.isfinite(value):
        raise SettingInvalid(f"{env_name(name)} must be a number with an end, not {value}")
    if value < minimum:
        raise SettingInvalid(f"{env_name(name)} must be at least {minimum:g}, not {value}")
