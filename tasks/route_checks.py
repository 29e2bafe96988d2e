"""What a route must keep beside its keys' types: a provider that there is, values that it takes, and room for a question."""

import difflib
from collections.abc import Mapping

from models.route import Route, split
from models.route_file import RouteFile, read_route_file
from models.settings import Settings, env_name
from models.toml_table import shown
from tasks import tokenizer
from tasks.history import max_input_tokens, system_prompt
from tasks.providers.local import MODEL
from tasks.providers.registry import usable

#: Tokens that a route's prompt leaves for the visitor's message at least: a short question.
MESSAGE_TOKENS = 64

#: The highest temperature, where a kind of provider takes less than a route may say.
MAX_TEMPERATURES = {"anthropic": 1.0}


def load_checked_routes(settings: Settings) -> Mapping[str, Route]:
    """Every route by its name. Raises SettingInvalid, with file, line and key.

    Tokens are counted only where the prompt's bytes don't settle it, which takes 0.3 s once.
    """
    return check_routes(read_route_file(settings), settings).checked()


def check_routes(file: RouteFile, settings: Settings) -> RouteFile:
    """Adds to the file's mistakes those that only the producing side can see."""
    for name, route in file.routes.items():
        _check_provider(file, name, route)
        _check_models(file, name, route)
        _check_prompt(file, name, route, settings)
    return file


def _check_provider(file: RouteFile, name: str, route: Route) -> None:
    known = usable(file.providers)
    for model in route.all_models:
        provider, name_of_model = split(model)
        key = "model" if model == route.model else "fallbacks"
        if provider not in known:
            close = difflib.get_close_matches(provider, known, 1)
            begins = " or ".join(f"{each}:" for each in known)
            meant = f"did you mean {close[0]}:?" if close else f"a model begins with {begins}"
            file.refuse(("routes", name, key), f'there is no provider "{provider}"; {meant}')
            continue
        kind = file.providers[provider].kind
        if kind == "local" and name_of_model != MODEL:
            file.refuse(("routes", name, key), f"there is one local model: write {provider}:{MODEL}")
        highest = MAX_TEMPERATURES.get(kind)
        if highest is not None and route.temperature is not None and route.temperature > highest:
            where = ("routes", name, "temperature")
            file.refuse(where, f"must be {highest:g} at most with {provider}, not {route.temperature:g}")


def _check_models(file: RouteFile, name: str, route: Route) -> None:
    """Each model that a server may ask for has a provider."""
    known, models = usable(file.providers), route.models
    for each in models.values() if isinstance(models, dict) else models:
        provider, _, model = each.partition(":")
        if provider not in known or not model:
            begins = " or ".join(f"{provider}:" for provider in known)
            file.refuse(
                ("routes", name, "models"),
                f"each must be provider:model, which begins with {begins}: see {shown(each)}",
            )


def _check_prompt(file: RouteFile, name: str, route: Route, settings: Settings) -> None:
    prompt, limit = system_prompt(route), max_input_tokens(route, settings)
    if not prompt or len(prompt.encode()) + MESSAGE_TOKENS <= limit:  # a token has one byte at least
        return
    tokens = tokenizer.count(prompt, route.provider_and_model[1])
    if tokens + MESSAGE_TOKENS > limit:
        key = "system" if route.system else "safety"
        origin = env_name("max_input_tokens") if limit == settings.max_input_tokens else "max_input_tokens"
        file.refuse(
            ("routes", name, key),
            f"the prompt has {tokens} tokens, and {MESSAGE_TOKENS} must be left for a message: "
            f"shorten it or raise {origin}, which is {limit}",
        )
