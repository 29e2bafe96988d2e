"""The settings: values that won't do, names that are none, and numbers that contradict each other."""

import difflib
from collections.abc import Iterator
from dataclasses import fields

from models.settings import Settings, env_name, environ_mistakes, is_given, unknown_variables
from streamer.doctor.check import Finding, Verdict, failed, ok, warning

#: Within how many seconds a dead worker's answer goes on, and how long a stream may be silent, as promised.
PICKED_UP_SECONDS, SILENCE_SECONDS = 15, 15


def variables(settings: Settings) -> Iterator[Finding]:
    """Every variable whose value is wrong, and those that are misspelt. The other checks go on with the defaults of these."""
    mistakes, unknown = environ_mistakes(), unknown_variables()
    for message in dict.fromkeys(mistakes.values()):
        yield failed(message, "as the line says; docs/configuration.md has every variable")
    known = [env_name(item.name) for item in fields(Settings)]
    for name in unknown:
        close = difflib.get_close_matches(name, known, 1)
        yield warning(f"{name} is no setting", f"do you mean {close[0]}?" if close else "see docs/configuration.md")
    if not mistakes and not unknown:
        given = [env_name(item.name) for item in fields(Settings) if is_given(item.name)]
        yield ok(f"set: {', '.join(given)}" if given else "all defaults")


def durations(settings: Settings) -> Iterator[Finding]:
    """Numbers that are fine alone and not together."""
    found = list(contradictions(settings))
    yield from found or [ok("they agree with each other")]


def contradictions(settings: Settings) -> Iterator[Finding]:
    """One finding for each pair of numbers that break a promise (failed) or weaken one (warning)."""
    s, no, weak = settings, Verdict.FAILED, Verdict.WARNING
    rules: tuple[tuple[bool, Verdict, str, str], ...] = (
        (s.renew_seconds < s.lease_seconds, no, "renew_seconds lease_seconds", "a worker would lose its answers"),
        (
            s.renew_seconds * 2 <= s.lease_seconds or s.renew_seconds >= s.lease_seconds,
            weak,
            "renew_seconds lease_seconds",
            "one late renewal loses an answer; a third of the lease is right",
        ),
        (
            s.renew_seconds < s.heartbeat_seconds,
            no,
            "renew_seconds heartbeat_seconds",
            "a worker beats when it renews, and would count as missing in between",
        ),
        (
            s.lease_seconds + s.sweep_seconds <= PICKED_UP_SECONDS,
            weak,
            "lease_seconds sweep_seconds",
            f"a dead worker's answer goes on only after more than {PICKED_UP_SECONDS} s",
        ),
        (
            s.keepalive_seconds < SILENCE_SECONDS,
            no,
            "keepalive_seconds",
            f"a byte is promised every {SILENCE_SECONDS} s; proxies and clients count on it",
        ),
        (
            s.max_message_bytes <= s.max_body_bytes,
            no,
            "max_message_bytes max_body_bytes",
            "such a message never gets in",
        ),
        (s.session_seconds <= s.max_session_seconds, weak, "session_seconds max_session_seconds", "the latter holds"),
        (s.max_wait_seconds < 60, weak, "max_wait_seconds", "many proxies end an answer that is silent for 60 s"),
        (s.web_drain_seconds < 10, weak, "web_drain_seconds", "`streamer up` ends the web process after 10 s"),
        (
            s.max_open_per_visitor <= s.max_open_per_tenant,
            weak,
            "max_open_per_visitor max_open_per_tenant",
            "one visitor can use up what all have",
        ),
    )
    for holds, verdict, names, why in rules:
        if not holds:
            yield _contradiction(s, verdict, names.split(), why)


def _contradiction(settings: Settings, verdict: Verdict, names: list[str], why: str) -> Finding:
    values = " beside ".join(f"{env_name(each)}={getattr(settings, each):g}" for each in names)
    make = failed if verdict is Verdict.FAILED else warning
    return make(f"{values}: {why}", f"change {' or '.join(map(env_name, names))}")
