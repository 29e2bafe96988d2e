"""The same request again: what makes two requests the same, and how an earlier answer is said anew."""

import hashlib
import hmac
from typing import Any

import msgspec

from models.event import Usage
from models.generation import Generation
from models.route import Route
from models.secret import Secret
from models.settings import Settings
from tasks.providers.base import ProviderRequest
from tasks.publisher import Publisher

#: Nothing was used for an answer that was there already.
NO_USAGE = Usage(source="cached")

#: Characters in one delta of an answer that is said again.
DELTA_CHARACTERS = 4096


class AnswerCache:
    """Names requests by all that decides what is answered. The key makes the names worthless to who has the database alone."""

    def __init__(self, settings: Settings, secret: Secret) -> None:
        self._settings = settings
        self._key = secret.derive("answer cache")

    def seconds(self, route: Route) -> float:
        """How long an answer serves again, 0: never."""
        return self._settings.cache_seconds if route.cache_seconds is None else route.cache_seconds

    def input_hash(self, row: Generation, route: Route, request: ProviderRequest) -> str | None:
        """The name of the request to the row's provider; None where the route's answers don't serve again.

        JSON tells where one value ends and the next begins, and null from every visitor's name.
        """
        if not self.seconds(route):
            return None
        named: Any = row
        visitor = None if route.cache_scope == "public" else row.visitor
        whole = (named.tenant_id, visitor, row.route, route.version, row.provider, request)
        return hmac.digest(self._key, msgspec.json.encode(whole), hashlib.sha256).hex()


def say_again(publisher: Publisher, answer: Generation) -> None:
    """Publishes an earlier answer as this run's own."""
    for say, text in ((publisher.reasoning, answer.reasoning), (publisher.text, answer.text)):
        for start in range(0, len(text), DELTA_CHARACTERS):
            say(text[start : start + DELTA_CHARACTERS])
            publisher.number_text()
