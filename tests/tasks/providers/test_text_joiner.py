"""Text in pieces: emoji become whole, what can't be stored is replaced, nothing else changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.event import storable
from tasks.providers.text_joiner import TextJoiner


@pytest.mark.parametrize(
    ("pieces", "out"),
    [
        (["plain", "é中😀"], ["plain", "é中😀", ""]),
        (["a\ud83d", "\ude00b"], ["a", "😀b", ""]),
        (["\ud83d", "", "\ude00"], ["", "", "😀", ""]),
        (["\ud83d\ude00"], ["😀", ""]),
        (["\ud83d", "x"], ["", "\ufffdx", ""]),
        (["\ud83d", "\ud83d", "\ude00"], ["", "\ufffd", "😀", ""]),
        (["\ude00", "\ude00\ud83d"], ["\ufffd", "\ufffd", "\ufffd"]),
        (["a\0b", "\0"], ["a\ufffdb", "\ufffd", ""]),
        (["\ud83d"], ["", "\ufffd"]),
        ([""], ["", ""]),
    ],
)
def test_pieces_come_out_whole(pieces: list[str], out: list[str]) -> None:
    joiner = TextJoiner()
    assert [*map(joiner.push, pieces), joiner.end()] == out


@given(st.lists(st.text(st.sampled_from("a\0é😀\ud83d\ude00\udfff\ud800"), max_size=4), max_size=6))
def test_all_pieces_together_are_the_whole_text_made_storable(pieces: list[str]) -> None:
    joiner = TextJoiner()
    whole = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    out = [*map(joiner.push, pieces), joiner.end()]
    assert "".join(out) == storable(whole)
    assert all(piece == storable(piece) for piece in out)
