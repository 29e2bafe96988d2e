"""An event stream that was fetched, cut into frames."""

from collections.abc import Sequence

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("pieces", "frames"),
    [
        (["id: 1-0\nevent: delta\ndata: 1\n\n"], [("delta", "1-0", "1")]),
        (
            ["id: 1-0\nev", "ent: delta\ndata: 1\n", "\nevent: x\ndata: 2\n\n"],
            [("delta", "1-0", "1"), ("x", "1-0", "2")],
        ),
        ([":\n\n", "retry: 5\n:\n\n", 'event: a\ndata: {"b: c": 1}\n\n', "event: cut"], [("a", "", '{"b: c": 1}')]),
    ],
)
async def test_a_fetched_stream_is_cut_into_its_frames(
    bench: Page, pieces: Sequence[str], frames: Sequence[tuple[str, str, str]]
) -> None:
    script = """async (pieces) => {
      const { frameParser } = await import("/static/widget/fetched_stream.js");
      const frames = [];
      const parse = frameParser(({ kind, id, text }) => frames.push([kind, id, text]));
      pieces.forEach(parse);
      return frames;
    }"""
    assert await bench.evaluate(script, list(pieces)) == [list(frame) for frame in frames]
