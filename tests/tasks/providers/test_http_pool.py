"""HTTP connections: kept when whole, closed at once when not, bounded, and never mixing two responses."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import ProviderProtocolBroken, ProviderTimeout, ProviderUnreachable
from tasks.providers import http_pool
from tasks.providers.http_connection import MAX_WAITING_BYTES, Connection
from tasks.providers.http_pool import Pool
from tests.fakes.certificate import make_certificate
from tests.fakes.http_server import Exchange, FakeServer
from tests.tasks.waiting import until

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class RawServer(FakeServer):
    """Writes `raw` for each request, and closes the connection then if it `closes`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.raw = OK
        self.closes = False
        super().__init__(tls)

    async def answer(self, exchange: Exchange) -> None:
        self.count(calls=1)
        await exchange.write(self.raw)
        if self.closes:
            exchange.close()


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as made:
        yield made


@pytest.fixture
async def pool(server: RawServer) -> AsyncIterator[Pool]:
    made = Pool(f"http://127.0.0.1:{server.port}", 5, allow_private=True)
    yield made
    made.close()


def _soon() -> float:
    return asyncio.get_running_loop().time() + 5


async def _body(connection: Connection) -> bytes:
    body = b""
    while chunk := await connection.read(_soon()):
        body += chunk
    return body


async def _exchange(pool: Pool) -> tuple[int, bytes]:
    connection = await pool.take()
    try:
        connection.send(REQUEST)
        head = await connection.head(_soon())
        return head.status, await _body(connection)
    finally:
        pool.give_back(connection)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (OK, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\ntrailer: x\r\n\r\n",
            b"ok",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
    ],
    ids=["a length", "chunks", "after informational heads", "no body"],
)
async def test_a_whole_response_leaves_the_connection_to_the_next(
    server: RawServer, pool: Pool, raw: bytes, body: bytes
) -> None:
    server.raw = raw
    assert [await _exchange(pool) for _ in range(3)] == [(200, body)] * 3
    assert server.open == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + OK,
        OK + b"secret",
    ],
    ids=["told to close", "an old version", "a second response", "bytes too many"],
)
async def test_a_connection_that_may_not_be_used_again_is_not(server: RawServer, pool: Pool, raw: bytes) -> None:
    server.raw = raw
    assert await _exchange(pool) == (200, b"ok")
    await server.until(lambda: server.open == 0)
    assert await _exchange(pool) == (200, b"ok")


async def test_a_body_without_a_length_ends_with_the_connection(server: RawServer, pool: Pool) -> None:
    server.raw, server.closes = b"HTTP/1.1 200 OK\r\n\r\nok", True
    assert await _exchange(pool) == (200, b"ok")


async def test_a_body_without_a_length_does_not_end_with_a_reset(server: RawServer, pool: Pool) -> None:
    server.raw = b"HTTP/1.1 200 OK\r\n\r\nok"
    connection = await pool.take()
    connection.send(REQUEST)
    await connection.head(_soon())
    (exchange,) = server.exchanges
    server.in_thread(exchange.reset)
    with pytest.raises(ProviderUnreachable):
        await _body(connection)


async def test_a_connection_given_back_before_the_end_is_closed(server: RawServer, pool: Pool) -> None:
    connection = await pool.take()
    connection.send(REQUEST)
    await connection.head(_soon())
    pool.give_back(connection)  # the body has come, but was not read
    await server.until(lambda: server.open == 0)
    assert await _exchange(pool) == (200, b"ok")


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nx: y", OK[:-1], b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_response_that_breaks_off_is_unreachable(server: RawServer, pool: Pool, raw: bytes) -> None:
    server.raw, server.closes = raw, True
    with pytest.raises(ProviderUnreachable):
        await _exchange(pool)


@pytest.mark.parametrize(
    "raw",
    [
        b"secret",
        b"HTTP/1.1 200 OK\r\nsecret\x01: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: secret\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nsecret\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    ],
)
async def test_what_is_no_http_is_a_broken_protocol(server: RawServer, pool: Pool, raw: bytes) -> None:
    server.raw = raw
    with pytest.raises(ProviderProtocolBroken) as caught:
        await _exchange(pool)
    assert "secret" not in str(caught.value)
    await server.until(lambda: server.open == 0)


async def test_what_came_before_the_break_is_read_first(server: RawServer, pool: Pool) -> None:
    server.raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nbroken"
    connection = await pool.take()
    connection.send(REQUEST)
    await connection.head(_soon())
    assert await connection.read(_soon()) == b"ok"
    with pytest.raises(ProviderProtocolBroken):
        await connection.read(_soon())


async def test_an_idle_connection_that_the_server_closes_is_forgotten(server: RawServer, pool: Pool) -> None:
    await _exchange(pool)
    for exchange in list(server.exchanges):
        server.in_thread(exchange.close)
    await until(lambda: not pool._idle)
    assert await _exchange(pool) == (200, b"ok")


async def test_a_connection_lost_between_two_calls_is_unreachable_at_once(server: RawServer, pool: Pool) -> None:
    connection = await pool.take()
    connection.close()
    await server.until(lambda: server.open == 0)
    connection.send(REQUEST)
    with pytest.raises(ProviderUnreachable, match="before the request"):
        await connection.head(_soon())
    pool.give_back(connection)
    assert not pool._idle


async def test_bytes_that_nobody_asked_for_close_an_idle_connection(server: RawServer, pool: Pool) -> None:
    await _exchange(pool)
    (exchange,) = server.exchanges
    server.in_thread(lambda: exchange.transport.write(OK))
    await server.until(lambda: server.open == 0)
    assert await _exchange(pool) == (200, b"ok")


async def test_a_response_before_any_request_closes_the_connection(server: RawServer, pool: Pool) -> None:
    connection = await pool.take()
    await server.until(lambda: server.open == 1)
    (exchange,) = server.exchanges
    server.in_thread(lambda: exchange.transport.write(OK))
    await server.until(lambda: server.open == 0)
    assert not connection.reusable


async def test_an_idle_connection_is_closed_after_a_while(
    server: RawServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_pool, "IDLE_SECONDS", 0.01)
    await _exchange(pool)
    await server.until(lambda: server.open == 0)
    assert not pool._idle
    assert not pool._open


async def test_no_more_than_a_number_of_connections_are_kept(
    server: RawServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_pool, "MAX_IDLE", 2)
    await asyncio.gather(*(_exchange(pool) for _ in range(8)))
    await server.until(lambda: server.open == 2)


async def test_a_reader_that_does_not_read_holds_the_sender_back(
    server: RawServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = bytes(range(256)) * 80_000  # 20 MB, more than any socket takes
    server.raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    paused, received = asyncio.Event(), Connection.data_received

    def receive_and_tell(connection: Connection, data: bytes) -> None:
        received(connection, data)
        if connection._paused:
            paused.set()

    monkeypatch.setattr(Connection, "data_received", receive_and_tell)
    connection = await pool.take()
    connection.send(REQUEST)
    await connection.head(_soon())
    await paused.wait()
    server.raw = OK
    await _exchange(pool)  # meanwhile more could have come
    assert connection._body_bytes < MAX_WAITING_BYTES + 512 * 1024
    assert await _body(connection) == body
    assert connection.reusable


async def test_a_deadline_that_passes_is_a_timeout_and_later_ones_count_anew(server: RawServer, pool: Pool) -> None:
    server.raw = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    now = asyncio.get_running_loop().time
    connection = await pool.take()
    connection.send(REQUEST)
    await connection.head(now() + 60)
    waiting = asyncio.create_task(connection.read(now() + 0.1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])  # its timer stays, and must not end the next wait
    for seconds in (0.2, 0.01, 0.05):
        start = now()
        with pytest.raises(TimeoutError):
            await connection.read(start + seconds)
        assert seconds <= now() - start < seconds + 1


async def test_the_next_address_is_tried_and_its_kind_remembered(
    server: RawServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def address(family: int, host: str) -> tuple[Any, ...]:
        return (family, socket.SOCK_STREAM, 6, "", (host, server.port))

    async def found(*_args: object, **_named: object) -> list[tuple[Any, ...]]:
        return [address(socket.AF_INET6, "::1"), address(socket.AF_INET6, "::1"), address(socket.AF_INET, "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    assert await _exchange(pool) == (200, b"ok")
    assert pool._family == socket.AF_INET


async def test_a_name_without_an_address_is_unreachable(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_args: object, **_named: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(ProviderUnreachable, match=r"failed \(gaierror\)"):
        await pool.take()


async def test_connecting_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_args: object, **_named: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    with pytest.raises(ProviderTimeout, match="not made in time"):
        await Pool("http://127.0.0.1:1", 0.01, allow_private=True).take()


def _resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every name leads to these addresses."""
    families = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in addresses]

    async def found(_host: str, port: int, **_named: object) -> list[tuple[Any, ...]]:
        return [
            (family, socket.SOCK_STREAM, 6, "", (each, port)) for family, each in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)


PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.2",
    "::1",
    "fd00::1",
    "fe80::1%lo",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]

NEVER = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "fd00:ec2::254",
    "0.0.0.0",
    "::",
    "224.0.0.1",
]


@pytest.mark.parametrize("address", PRIVATE + NEVER)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_that_leads_into_ones_own_network_is_refused(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheme: str, address: str
) -> None:
    _resolving_to(monkeypatch, address)
    with pytest.raises(ProviderUnreachable, match="an address that is not allowed") as caught:
        await Pool(f"{scheme}://api.example:{server.port}", 5).take()
    assert caught.value.should_retry is False
    assert f"api.example leads to {address}" in caplog.text
    assert (server.open, server.calls) == (0, 0)


@pytest.mark.parametrize("address", NEVER)
async def test_where_a_cloud_keeps_its_credentials_is_never_allowed(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    _resolving_to(monkeypatch, address)
    with pytest.raises(ProviderUnreachable, match="not allowed"):
        await Pool("http://api.example:1", 5, allow_private=True).take()


async def test_one_address_that_is_not_allowed_is_enough(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolving_to(monkeypatch, "127.0.0.1", "169.254.169.254")
    with pytest.raises(ProviderUnreachable, match="not allowed"):
        await Pool(f"http://api.example:{server.port}", 5, allow_private=True).take()
    assert server.open == 0


async def test_what_was_resolved_is_connected_to_and_the_host_stays_the_name(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolving_to(monkeypatch, "127.0.0.1")
    connection = await Pool(f"http://api.example:{server.port}", 5, allow_private=True).take()
    _resolving_to(monkeypatch, "169.254.169.254")  # a second look would be told something else
    connection.send(REQUEST)
    assert (await connection.head(_soon())).status == 200
    connection.close()


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"])
async def test_other_ways_to_write_an_address_are_seen_through(server: RawServer, host: str) -> None:
    with pytest.raises(ProviderUnreachable):
        await Pool(f"https://{host}:{server.port}", 5).take()
    assert server.open == 0


async def test_without_tls_no_public_address_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolving_to(monkeypatch, "8.8.8.8")
    with pytest.raises(ProviderUnreachable, match="not allowed"):
        await Pool("http://api.example:1", 5, allow_private=True).take()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for 127.0.0.1 in one file."""
    return make_certificate(tmp_path)


async def test_the_name_is_what_tls_asks_for_and_what_the_certificate_must_say(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str] = []
    context.sni_callback = lambda _connection, name, _context: asked.append(name)
    monkeypatch.setattr(http_pool, "tls_context", lambda: ssl.create_default_context(cafile=certificate))
    with RawServer(context) as server:
        _resolving_to(monkeypatch, "127.0.0.1")  # which the certificate names, but it is not what was asked for
        with pytest.raises(ProviderUnreachable, match="SSLCertVerificationError"):
            await Pool(f"https://api.example:{server.port}", 5, allow_private=True).take()
    assert asked == ["api.example"]


async def test_tls_is_spoken_to_a_server_that_is_trusted_and_to_no_other(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with RawServer(context) as server:
        pool = Pool(f"https://127.0.0.1:{server.port}", 5, allow_private=True)
        with pytest.raises(ProviderUnreachable, match="SSLCertVerificationError"):
            await pool.take()
        monkeypatch.setattr(http_pool, "tls_context", lambda: ssl.create_default_context(cafile=certificate))
        pool = Pool(f"https://127.0.0.1:{server.port}", 5, allow_private=True)
        assert [await _exchange(pool) for _ in range(2)] == [(200, b"ok")] * 2
        assert server.open == 1
        connection = await pool.take()
        connection.send(REQUEST)
        pool.give_back(connection)
        await server.until(lambda: server.open == 0)
