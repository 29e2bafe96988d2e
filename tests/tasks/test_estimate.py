"""What a call used, by the tokenizer's count."""

from models.event import Usage
from tasks import tokenizer
from tasks.estimate import estimate


def test_an_estimate_has_what_was_sent_and_counts_what_was_answered() -> None:
    found = estimate(7, "Like this, for example.", "gpt-4o-mini")

    answered = tokenizer.count("Like this, for example.", "gpt-4o-mini")
    assert found == Usage(input=7, output=answered, source="estimated")


def test_a_call_that_brought_nothing_has_no_estimate() -> None:
    assert estimate(7, "", "gpt-4o-mini") is None
