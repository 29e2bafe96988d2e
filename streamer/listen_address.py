"""The address that the web server is to listen on: whether it is free, and how people reach it."""

import errno
import socket
import time

from models.errors import SettingInvalid

#: How long a process that was just killed may hold its port.
FREED_WITHIN_SECONDS = 1.0

_WHY = {
    errno.EADDRINUSE: "port {port} on {host} is taken: stop what listens there, or choose another with --port",
    errno.EACCES: "port {port} needs more rights than this user has: choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "{host} is no address of this machine: choose another with --host",
}


def free_port(host: str, port: int) -> int:
    """`port`, now free on `host`; any free one for 0. Raises SettingInvalid, which says what to change."""
    if not 0 <= port <= 65535:  # getaddrinfo would take the lower 16 bits
        raise SettingInvalid(f"there is no port {port}: choose one below 65536 with --port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise SettingInvalid(f"{host}:{port} is no address to listen on: see --host and --port") from None
    deadline = time.monotonic() + FREED_WITHIN_SECONDS
    while True:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections that linger don't count
            try:
                probe.bind(address)
                return int(probe.getsockname()[1])
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                    raise SettingInvalid(_why(error, host, port)) from None
        time.sleep(0.05)


def public_url(host: str, port: int) -> str:
    """What a person on this machine opens; an address that stands for all of the machine's is none to open."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is replaced
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why(error: OSError, host: str, port: int) -> str:
    known = _WHY.get(error.errno or 0, "{host}:{port} can't be listened on ({reason})")
    return known.format(host=host, port=port, reason=error.strerror)
