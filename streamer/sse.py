"""Events as bytes on the wire (WHATWG HTML §9.2.6): one event, one frame, one line of data. Pure."""

from models.event import NOWHERE, Close, EventId, Frame, Kind, Queued, encode

KEEP_ALIVE = b":\n\n"

#: What opens every stream: a byte at once, so that proxies pass the headers on, and how soon a browser comes back.
RETRY_MS = 1000


def encode_frame(frame: Frame) -> bytes:
    """An event with an id."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(frame.id).encode(), frame.kind.encode(), frame.data)


def encode_unnumbered(name: str, data: bytes) -> bytes:
    """An event about the connection, the queue or the service: it has no id, so the client's cursor stays."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def opening(retry_ms: int = RETRY_MS) -> bytes:
    """The first bytes of a stream."""
    return b"retry: %d\n:\n\n" % retry_ms


def queued_frame(position: int | None = None) -> bytes:
    return encode_unnumbered(Kind.QUEUED, encode(Queued(position=position)))


def close_frame(code: str, *, reconnect: bool, retry_ms: int) -> bytes:
    """Why the server ends this connection, and when to come back. It never ends the generation."""
    data = encode(Close(code=code, reconnect=reconnect, retry_ms=retry_ms))
    return b"retry: %d\n" % retry_ms + encode_unnumbered(Kind.CLOSE, data)


def cursor_of(last_event_id: str | None, after: str | None) -> EventId | None:
    """Where a client wants to go on: the header wins over the query. None: from the beginning, as for anything that is no id."""
    given = last_event_id if last_event_id is not None else after
    found = EventId.parse(given) if given else None
    return None if found == NOWHERE else found
