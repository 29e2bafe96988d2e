"""A network with one other machine on it: a namespace at the far end of a cable (a veth pair) that can be pulled out."""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.missing import missing

CLONE_NEWNET = 0x40000000


class Cable:
    """Between `address`, which is this machine's own and leads nowhere else, and the far end. Names end with our process's id."""

    def __init__(self) -> None:
        number = os.getpid()
        self.address, self._far_address = (f"10.203.{number >> 6 & 255}.{(number & 63) * 4 + end}" for end in (1, 2))
        self._near, self._far, self._namespace = f"near{number}", f"far{number}", f"faults-{number}"

    def lay(self) -> None:
        """Raises CalledProcessError where the machine does not allow it."""
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._namespace)
        _ip("address", "add", f"{self.address}/30", "dev", self._near)
        _ip("link", "set", self._near, "up")
        _ip("-n", self._namespace, "address", "add", f"{self._far_address}/30", "dev", self._far)
        _ip("-n", self._namespace, "link", "set", self._far, "up")

    def pull(self) -> None:
        """Nothing gets through any more, and nobody is told: neither end sees a connection close."""
        _ip("-n", self._namespace, "link", "set", self._far, "down")

    def remove(self) -> None:
        for arguments in (("link", "delete", self._near), ("netns", "delete", self._namespace)):
            with contextlib.suppress(subprocess.CalledProcessError):  # it was not laid so far
                _ip(*arguments)

    def socket_there(self) -> socket.socket:
        """One of the far end's, made by a thread that goes there and never comes back."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._make_there).result()

    def _make_there(self) -> socket.socket:
        with Path("/run/netns", self._namespace).open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return socket.socket()


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """One that lies there, for as long as the block runs. Only root can have one: else the row is skipped."""
    if os.geteuid() != 0:
        missing("only root can make the network of this row")
    if shutil.which("ip") is None:
        missing("there is no `ip` to make the network of this row: install iproute2")
    made = Cable()
    try:
        try:
            made.lay()
        except subprocess.CalledProcessError as error:
            missing(f"this machine lets nobody make a network: {error.stderr.strip()}")
        yield made
    finally:
        made.remove()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
