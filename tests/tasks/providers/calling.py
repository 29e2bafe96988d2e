"""One call to a provider, kept as it went."""

from contextlib import aclosing

from models import errors
from tasks.providers.base import FinishPiece, Piece, Provider, ProviderRequest, TextPiece


class Seen:
    """What a call gave until it ended: its pieces, and the failure if one ended it."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.failure: errors.ProviderFailure | None = None

    @property
    def texts(self) -> list[str]:
        return [piece.text for piece in self.pieces if isinstance(piece, TextPiece)]

    @property
    def finish(self) -> str | None:
        return next((piece.reason for piece in self.pieces if isinstance(piece, FinishPiece)), None)


async def call(provider: Provider, request: ProviderRequest) -> Seen:
    """Calls and reads to the end. No failure may quote what the fakes call secret."""
    seen = Seen()
    try:
        async with aclosing(provider.stream(request)) as pieces:
            async for piece in pieces:
                seen.pieces.append(piece)
    except errors.ProviderFailure as error:
        seen.failure = error
    assert "secret" not in str(seen.failure)
    assert seen.failure is None or seen.failure.__cause__ is None
    return seen
