"""Who answers: the routes' file and the providers that it names."""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from models.route_file import RouteFile, read_route_file
from models.settings import Settings, env_name
from streamer.doctor.check import Finding, failed, ok
from tasks.providers.http_pool import tls_context
from tasks.providers.registry import NAMES, Registry
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
    registry = Registry(settings)
    for name in _names(file):
        registry.provider(name)
        routes = ", ".join(sorted(each for each, route in file.routes.items() if route.provider_and_model[0] == name))
        yield ok(f"{name} for {routes}: {_key(name, settings)}")


def hosts(settings: Settings) -> Iterator[Finding]:
    """Whether each provider's host takes a connection; no request is sent."""
    for name in _names(read_route_file(settings)):
        url = urlsplit(str(getattr(settings, f"{name}_base_url", "")))
        if not url.hostname:
            yield ok(f"{name} needs no network")
            continue
        where = (url.hostname, url.port or (443 if url.scheme == "https" else 80))
        fault = _connect(where, tls=url.scheme == "https")
        if fault:
            change = f"see {env_name(f'{name}_base_url')}, the name server and the firewall"
            yield failed(f"{name}: {where[0]}:{where[1]} {fault}", change)
        else:
            yield ok(f"{name}: {where[0]}:{where[1]} takes connections")


def _names(file: RouteFile) -> list[str]:
    return sorted({route.provider_and_model[0] for route in file.routes.values()} & set(NAMES))


def _key(name: str, settings: Settings) -> str:
    variable = f"{name}_api_key"
    if not hasattr(settings, variable):
        return "needs no key"
    return (
        f"{env_name(variable)} is set"
        if getattr(settings, variable)
        else f"no key in {env_name(variable)}, and none needed"
    )


def _connect(where: tuple[str, int], *, tls: bool) -> str:
    """What went wrong; empty where nothing did."""
    try:
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
