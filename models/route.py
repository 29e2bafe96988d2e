"""A route: a named policy, which says what model answers, with which prompt, within which limits."""

import hashlib
from typing import Annotated, Any, Literal

import msgspec

from models.settings import Settings

OnWorkerLost = Literal["restart", "keep_partial"]
OnProviderBroken = Literal["restart", "keep_partial"]

History = Literal["conversation", "none"]
CacheScope = Literal["visitor", "public"]

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=1, le=1e9)]
Pause = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]

#: Keys whose default, where a route leaves them out, is the setting of that name.
FROM_SETTINGS = (
    "max_input_tokens",
    "deadline_seconds",
    "max_calls",
    "max_crashes",
    "cache_seconds",
    "max_requests",
    "request_window_seconds",
    "response_seconds",
)


def split(model: str) -> tuple[str, str]:
    """`openai:gpt-4o-mini` as ("openai", "gpt-4o-mini"); the model may hold more colons."""
    provider, _, name = model.partition(":")
    return provider, name


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[routes.NAME]` table. Sizes are tokens, durations seconds; what is left out comes from the settings."""

    model: str
    fallbacks: tuple[str, ...] = ()
    system: str = ""
    safety: str = ""
    history: History = "conversation"
    max_input_tokens: Count | None = None
    max_output_tokens: Count | None = None
    temperature: Temperature | None = None
    deadline_seconds: Seconds | None = None
    max_calls: Count | None = None
    max_crashes: Count | None = None
    on_worker_lost: OnWorkerLost = "restart"
    on_provider_broken: OnProviderBroken | None = None
    cache_seconds: Pause | None = None
    cache_scope: CacheScope = "visitor"
    max_requests: Count | None = None
    request_window_seconds: Seconds | None = None
    response_seconds: Seconds | None = None
    models: tuple[str, ...] | dict[str, str] = ()

    @property
    def version(self) -> str:
        """What tells this policy from any other: a change of any value is a new version."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def provider_and_model(self) -> tuple[str, str]:
        """`openai:gpt-4o-mini` in its two parts."""
        return split(self.model)

    @property
    def all_models(self) -> tuple[str, ...]:
        """The first choice, then the fallbacks, each as provider:model."""
        return (self.model, *self.fallbacks)

    @property
    def providers(self) -> frozenset[str]:
        """The names of all who may be asked: for the route's models, and for those that a server may ask for."""
        others = self.models.values() if isinstance(self.models, dict) else self.models
        return frozenset(split(each)[0] for each in (*self.all_models, *others))

    def first_choice(self, provider: str, model: str) -> tuple[str, str]:
        """Who a later run begins with, where the run before asked this model: a fallback makes place for the first choice."""
        return self.provider_and_model if f"{provider}:{model}" in self.fallbacks else (provider, model)

    def fallbacks_of(self, provider: str, model: str) -> list[tuple[str, str]]:
        """Who is asked after this model, in order."""
        return [split(each) for each in self.fallbacks if each != f"{provider}:{model}"]

    def allowed(self, provider: str) -> str | None:
        """The provider:model that a server asks for by `provider`, an alias or the model itself; None: this route has no such."""
        if isinstance(self.models, dict):
            return self.models.get(provider) or (provider if provider == self.model else None)
        return provider if provider in (self.model, *self.models) else None

    def effective(self, settings: Settings) -> dict[str, Any]:
        """Every key with the value that holds; None is left to the provider."""
        values = msgspec.structs.asdict(self)
        for name in FROM_SETTINGS:
            if values[name] is None:
                values[name] = getattr(settings, name)
        values["on_provider_broken"] = self.on_provider_broken or "keep_partial"
        return values
