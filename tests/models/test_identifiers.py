"""Ids: the layout of RFC 9562, in order of time, and never twice."""

import re
import time
import uuid

import pytest

from models.identifiers import random_name, uuid7


def test_an_id_is_a_uuid_of_version_7_and_of_the_rfcs_variant() -> None:
    found = uuid.UUID(uuid7())

    assert (found.version, found.variant) == (7, uuid.RFC_4122)


def test_an_id_begins_with_the_milliseconds_of_now() -> None:
    before = time.time_ns() // 1_000_000
    millis = uuid.UUID(uuid7()).int >> 80

    assert before <= millis <= time.time_ns() // 1_000_000


def test_an_id_of_a_later_millisecond_sorts_after(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for millis in (1, 1_700_000_000_000, 1_700_000_000_001, 2**48 - 1):
        monkeypatch.setattr(time, "time_ns", lambda at=millis: at * 1_000_000)
        found.append(uuid7())

    assert found == sorted(found)


def test_a_clock_beyond_the_48_bits_still_gives_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 2**48 * 1_000_000)

    assert uuid.UUID(uuid7()).version == 7


def test_ids_of_one_moment_differ() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000


def test_a_name_tells_its_kind_and_nothing_else() -> None:
    names = {random_name("worker") for _ in range(1000)}

    assert len(names) == 1000
    assert all(re.fullmatch(r"worker_[0-9a-f]{16}", name) for name in names)
