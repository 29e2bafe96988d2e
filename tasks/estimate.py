"""What a call used, by the tokenizer's count, where the provider's own figures did not come."""

from models.event import Usage
from tasks import tokenizer
from tasks.providers.base import ProviderRequest


def estimate(request: ProviderRequest, answered: str) -> Usage | None:
    """The usage of a call that brought `answered`; None where it brought nothing. It takes time: keep it off event loops."""
    if not answered:
        return None
    asked = "\n".join(message.content for message in request.messages)
    return Usage(
        input=tokenizer.count(asked, request.model), output=tokenizer.count(answered, request.model), source="estimated"
    )
