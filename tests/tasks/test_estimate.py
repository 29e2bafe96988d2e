"""What a call used, by the tokenizer's count."""

from models.event import Usage
from tasks import tokenizer
from tasks.estimate import estimate
from tasks.providers.base import Message, ProviderRequest

REQUEST = ProviderRequest(
    model="gpt-4o-mini", messages=(Message(role="system", content="Be kind."), Message(role="user", content="How so?"))
)


def test_an_estimate_counts_what_was_asked_and_what_was_answered() -> None:
    found = estimate(REQUEST, "Like this, for example.")

    asked = tokenizer.count("Be kind.\nHow so?", "gpt-4o-mini")
    answered = tokenizer.count("Like this, for example.", "gpt-4o-mini")
    assert found == Usage(input=asked, output=answered, source="estimated")


def test_a_call_that_brought_nothing_has_no_estimate() -> None:
    assert estimate(REQUEST, "") is None
