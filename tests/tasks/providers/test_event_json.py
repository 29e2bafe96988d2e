"""The JSON of events: read, or refused without being quoted."""

import msgspec
import pytest

from models.errors import ProviderProtocolBroken
from tasks.providers.event_json import EventJson, error_in, token_count


class _Event(msgspec.Struct):
    text: str | None = None


def test_what_is_known_is_read_and_the_rest_ignored() -> None:
    assert EventJson(_Event).read('{"text": "a", "x": [1]}') == _Event("a")
    assert EventJson(_Event).read('{"text": "\\ud83d"}') == _Event("\ud83d")


@pytest.mark.parametrize("data", ["", "secret", "[]", '{"text": 1}', '{"text": "\\ud83d", "x": NaN}', "[" * 100_000])
def test_what_cannot_be_read_is_a_broken_protocol(data: str) -> None:
    with pytest.raises(ProviderProtocolBroken) as caught:
        EventJson(_Event).read(data)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ('{"error": {"type": "x"}}', {"type": "x"}),
        ('{"type": "x"}', {"type": "x"}),
        ('"x"', "x"),
        ("[1]", [1]),
        ("secret", None),
        ("[" * 100_000, None),
    ],
)
def test_an_error_is_found_as_far_as_there_is_one(data: str, error: object) -> None:
    assert error_in(data) == error


@pytest.mark.parametrize(
    ("counts", "count"), [({"a": 5}, 5), ({"a": -1}, 0), ({"a": 2**40}, 2**31 - 1), ({"a": "5"}, 0), ({}, 0), (None, 0)]
)
def test_a_count_is_one_that_a_database_holds(counts: object, count: int) -> None:
    assert token_count(counts, "a") == count
