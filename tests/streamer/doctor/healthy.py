"""A server that answers as the service's health check does."""

from tests.fakes.http_server import Exchange, FakeServer


class Healthy(FakeServer):
    """Answers as the service's /healthz does."""

    async def answer(self, exchange: Exchange) -> None:
        await exchange.start(200, {"content-length": "15"})
        await exchange.send(b'{"status":"ok"}')
        await exchange.end()
