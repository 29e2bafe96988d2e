"""What a provider call costs beside the answer: with a connection that is there, and with one that is made for it.

On this machine, so without a network: over one, a connection costs a round trip more, and TLS another, beside the name's look-up.
"""

import argparse
import asyncio
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import uvloop

from tasks.providers.http_pool import Pool, tls_context
from tests.fakes.certificate import make_certificate
from tests.fakes.http_server import Exchange, FakeServer

CALLS = 100

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}"


class Prompt(FakeServer):
    """Answers at once."""

    async def answer(self, exchange: Exchange) -> None:
        await exchange.json(200, {})


async def call(pool: Pool) -> None:
    """One whole exchange."""
    connection = await pool.take()
    deadline = asyncio.get_running_loop().time() + 10
    connection.send(REQUEST)
    await connection.head(deadline)
    while await connection.read(deadline):
        pass
    pool.give_back(connection)


async def milliseconds(work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def measure(url: str) -> tuple[float, float]:
    """The medians of a call on a new connection, and of one on a kept connection."""

    async def cold() -> None:
        pool = Pool(url, 10.0, allow_private=True)
        await call(pool)
        pool.close()

    warm = Pool(url, 10.0, allow_private=True)
    await call(warm)
    found = [(await milliseconds(cold), await milliseconds(lambda: call(warm))) for _ in range(CALLS)]
    warm.close()
    await asyncio.sleep(0)
    return median(each for each, _ in found), median(each for _, each in found)


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    argparse.ArgumentParser(prog="python -m benchmarks cold_call", description=__doc__).parse_args(arguments)
    began = time.perf_counter()
    tls_context()
    print(f"reading the authorities, once in a process, when it starts: {(time.perf_counter() - began) * 1000:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder))
        tls_context().load_verify_locations(certificate)
        served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        served.load_cert_chain(certificate)
        for name, tls in (("plain HTTP", None), ("TLS", served)):
            with Prompt(tls) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                scheme = "http" if tls is None else "https"
                cold, warm = runner.run(measure(f"{scheme}://127.0.0.1:{server.port}"))
            print(f"{name}: {cold:.2f} ms on a new connection, {warm:.2f} ms on a kept one")
    return 0
