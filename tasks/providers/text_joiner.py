"""Text that arrives in pieces, made safe to store piece by piece."""

import re

from models.event import storable

_SURROGATES = re.compile("[\ud800-\udfff]")


class TextJoiner:
    """Joins surrogate pairs that a provider split over two JSON strings, and makes each piece storable.

    A high surrogate at the end of a piece is held back until the next one; what stays alone becomes U+FFFD. One joiner
    for each text (answer, reasoning, arguments of one tool call).
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def push(self, piece: str) -> str:
        """What of the text is now known to be whole: storable, perhaps empty."""
        if piece.isascii() and not self._held:
            return storable(piece)
        text = self._held + piece
        self._held = ""
        if _SURROGATES.search(text):
            if "\ud800" <= text[-1] <= "\udbff":
                text, self._held = text[:-1], text[-1]
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return storable(text)

    def end(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return storable(held)
