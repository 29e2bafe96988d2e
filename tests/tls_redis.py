"""A redis-server that takes TLS connections alone and wants a password, as one on another machine does."""

import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote

from tests.fakes.certificate import make_certificate
from tests.missing import missing
from tests.redis_process import RedisProcess


class TlsRedis(RedisProcess):
    """On loopback, with a certificate that only its own file vouches for. Skips the test where no Redis here speaks TLS."""

    def __init__(self, folder: Path, password: str) -> None:
        super().__init__(folder)
        self.password = password
        self._program = tls_server()
        self.certificate = make_certificate(folder)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])

    @property
    def program(self) -> str:
        return self._program

    @property
    def arguments(self) -> list[str]:
        listening = ["--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1", "--tls-auth-clients", "no"]
        files = ["--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file"]
        shown = [word for name in files for word in (name, str(self.certificate))]
        return [*listening, *shown, "--requirepass", self.password, "--save", "", "--dir", str(self.folder)]

    @property
    def url(self) -> str:
        return self.address(self.password)

    def address(self, password: str, *, trusting: bool = True) -> str:
        """Its address with this password; `trusting` its certificate or only what the system trusts."""
        vouching = f"?ssl_ca_certs={self.certificate}" if trusting else ""
        return f"rediss://:{quote(password, safe='')}@127.0.0.1:{self.port}/0{vouching}"


def tls_server() -> str:
    """The program: Debian's redis-tools have it under the name redis-check-rdb."""
    found = [each for name in ("redis-server", "redis-check-rdb") if (each := shutil.which(name)) and _speaks_tls(each)]
    return found[0] if found else missing("no redis-server that speaks TLS: apt-get install redis-tools")


def _speaks_tls(program: str) -> bool:
    """Whether it knows the option at all; the value is refused by every one."""
    command = ["redis-server", "--tls-port", "none"]
    done = subprocess.run(command, executable=program, capture_output=True, text=True, timeout=30)
    return "Bad directive" not in done.stdout + done.stderr
