"""When a provider wants to be asked again."""

import time

import pytest

from tasks.providers.retry_after import retry_after_seconds, should_retry


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 0.25 "}, 0.25),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT", "date": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_the_headers_say_how_long(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


@pytest.mark.parametrize("value", ["", "-1", "nan", "inf", "1e3", "0x1", "٣", "soon", "9" * 400, "Wed, 99 Oct", "1,5"])
def test_garbage_says_nothing(value: str) -> None:
    assert retry_after_seconds({"retry-after": value, "retry-after-ms": value}) is None


def test_a_date_without_the_providers_own_date_is_measured_by_our_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_445_412_470.0)  # 07:27:50
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 10.0


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("False", False), ("", None), ("maybe", None)])
def test_an_explicit_word_on_retrying_is_read(value: str, meant: bool | None) -> None:
    assert should_retry({"x-should-retry": value}) is meant


def test_no_word_is_none() -> None:
    assert should_retry({}) is None
