"""What a call used, by the tokenizer's count, where the provider's own figures did not come."""

from models.event import Usage
from tasks import tokenizer


def estimate(sent_tokens: int, answered: str, model: str) -> Usage | None:
    """The usage of a call that was sent so much and brought `answered`; None where it brought nothing.

    It takes time: keep it off event loops.
    """
    if not answered:
        return None
    return Usage(input=sent_tokens, output=tokenizer.count(answered, model), source="estimated")
