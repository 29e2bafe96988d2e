"""The end of an asyncio server that leaves no connection behind."""

import asyncio

#: Turns of the event loop from an accepted socket to its handler, and a few more.
TURNS = 5


async def close_server(server: asyncio.Server) -> None:
    """Accepts no more, lets what was accepted become a connection, then closes.

    `Server.close` alone makes asyncio drop sockets that were accepted in the same turn, unclosed: their transports find no
    server to belong to (`Server._attach`).
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening)
    await take_turns()
    server.close()


async def take_turns() -> None:
    """Lets the event loop do what is due, and what follows from it."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
