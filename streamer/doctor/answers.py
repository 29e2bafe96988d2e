"""Who answers: the routes' file and the providers that it names."""

import socket
import ssl
from collections.abc import Collection, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from models.errors import SettingInvalid
from models.host_address import Reach, allowed_reaches, reach_of
from models.provider_check import url_fault
from models.provider_config import ProviderConfig, read_key
from models.route_file import RouteFile, read_route_file
from models.settings import Settings
from streamer.doctor.check import Finding, failed, ok
from tasks.providers.http_pool import tls_context
from tasks.providers.local_weights import find_weights
from tasks.providers.registry import Registry, address_source, usable
from tasks.route_checks import check_routes

#: Seconds that a provider's host gets to take a connection.
CONNECT_SECONDS = 4.0


def routes(settings: Settings) -> Iterator[Finding]:
    """Every mistake of the routes' file, as `streamer routes check` tells them."""
    file = check_routes(read_route_file(settings), settings)
    for mistake in file.mistakes:
        line = "" if mistake.line is None else f":{mistake.line}"
        yield failed(f"{file.path}{line}: {mistake.key}: {mistake.message}", "mend the file: `streamer routes check`")
    if not file.mistakes:
        names = ", ".join(sorted(file.routes))
        yield ok(f"{names}, from {file.path}" if file.path else f"{names}, which is built in: there is no file")


def providers(settings: Settings) -> Iterator[Finding]:
    """Whether each provider that a route names has what it needs. None is called."""
    file = read_route_file(settings)
    registry = Registry(settings, file.providers)
    for name in _names(file):
        if _is_run_by_up(file.providers[name], settings):
            yield ok(f"{name}: `streamer up` runs it, from {find_weights()}")
            continue
        registry.provider(name)
        routes = ", ".join(sorted(each for each, route in file.routes.items() if name in route.providers))
        yield ok(f"{name} for {routes}: {_key(file.providers[name], settings)}")


def _is_run_by_up(config: ProviderConfig, settings: Settings) -> bool:
    """Whether it is the local model, of which nobody says that it runs already."""
    return config.kind == "local" and not settings.local_base_url


def keys(settings: Settings) -> list[str]:
    """The keys of all providers, as far as they can be read."""
    found: list[str] = []
    with suppress(SettingInvalid):
        for config in read_route_file(settings).providers.values():
            with suppress(SettingInvalid):
                found.append(read_key(config, settings))
    return found


def hosts(settings: Settings) -> Iterator[Finding]:
    """Whether each provider's host takes a connection; no request is sent."""
    file = read_route_file(settings)
    for name in _names(file):
        config = file.providers[name]
        if not config.url:
            yield ok(f"{name} needs no network")
            continue
        source = address_source(name, config, settings)
        if fault := url_fault(config):
            yield failed(f"{name}: its address {fault}", f"see {source}")
            continue
        url = urlsplit(config.url)
        where = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        allowed = allowed_reaches(tls=url.scheme == "https", allow_private=config.allow_private)
        fault = _connect(where, allowed, tls=url.scheme == "https")
        if fault:
            yield failed(f"{name}: {where[0]}:{where[1]} {fault}", f"see {source}, the name server and the firewall")
        else:
            yield ok(f"{name}: {where[0]}:{where[1]} takes connections")


def _names(file: RouteFile) -> list[str]:
    named = frozenset[str]().union(*(route.providers for route in file.routes.values()))
    return [name for name in usable(file.providers) if name in named]


def _key(config: ProviderConfig, settings: Settings) -> str:
    if not config.url:
        return "needs no key"
    if not config.key_source:
        return "no key is sent"
    if read_key(config, settings):
        return f"{config.key_source} is set" if config.api_key_env else f"its key is in {config.key_source}"
    return f"no key in {config.key_source}, and none needed"


def _connect(where: tuple[str, int], allowed: Collection[Reach], *, tls: bool) -> str:
    """What went wrong; empty where nothing did."""
    try:
        found = [str(address[0]) for *_, address in socket.getaddrinfo(*where, type=socket.SOCK_STREAM)]
        if wrong := [each for each in found if reach_of(each) not in allowed]:
            return f"leads to {wrong[0]}, which is not allowed: see allow_private in docs/providers.md"
        with socket.create_connection(where, CONNECT_SECONDS) as connection:
            if tls:
                tls_context().wrap_socket(connection, server_hostname=where[0]).close()
    except ssl.SSLCertVerificationError as error:
        return f"shows a certificate that can't be trusted ({error.verify_message})"
    except ssl.SSLError:
        return "does not speak TLS"
    except TimeoutError:
        return f"did not answer within {CONNECT_SECONDS:g} s"
    except OSError as error:
        return f"can't be reached ({error.strerror or type(error).__name__})"
    return ""
