"""What is wrong with a `[providers.NAME]` table, key by key, in words for whoever wrote it. What may be a key is never quoted."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from models.host_address import Reach, literal_reach
from models.provider_config import Kind, ProviderConfig
from models.settings import Settings, env_name
from models.toml_table import guess, value_fault

FIELDS = {each.name: each for each in msgspec.structs.fields(ProviderConfig)}

#: Keys that mean something to these kinds only.
_ONLY_FOR: dict[str, tuple[Kind, ...]] = {
    **dict.fromkeys(FIELDS.keys() - {"kind"}, ("openai", "anthropic")),
    **dict.fromkeys(("include_usage", "end_is_finish", "max_tokens_field"), ("openai",)),
}

#: Headers that are the service's own to say, or that would be a key in the file.
_OWN_HEADERS = frozenset(
    (
        "accept",
        "accept-encoding",
        "anthropic-version",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    )
)
_KEY_HEADERS = frozenset(("authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "x-goog-api-key"))

_KEYS_THEMSELVES = ("api_key", "apikey", "key", "token", "secret", "password")

#: Variables that are no provider's key, and may not be sent to one.
_SETTINGS = frozenset(map(env_name, Settings.__dataclass_fields__)) - {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE = re.compile(r"[ -~]{0,1024}")
_NUMERIC_HOST = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}\.?", re.IGNORECASE)

_NO_KEY_HERE = (
    "a key does not belong into this file, which is copied, shared and versioned: "
    "name the variable that holds it in api_key_env, or its file in api_key_file"
)


def key_fault(key: str, value: Any) -> str | None:
    """What is wrong with one key of a table by itself. A value that may be a key is never quoted."""
    if key.lower().replace("-", "_") in _KEYS_THEMSELVES:
        return _NO_KEY_HERE
    if key not in FIELDS:
        return f"unknown key{guess(key, list(FIELDS))}"
    if key in ("api_key_env", "api_key_file", "headers") and value_fault(FIELDS[key].type, value):
        return "must be a table of texts" if key == "headers" else "must be text"
    if fault := value_fault(FIELDS[key].type, value):
        return fault
    if key == "api_key_env":
        return _variable_fault(value)
    if key == "api_key_file" and not value.startswith("/"):
        return "must be the file's whole path, from / on, such as /run/secrets/openai"
    return _headers_fault(value) if key == "headers" else None


def table_faults(config: ProviderConfig, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with keys beside others: each key with its fault."""
    for key in given:
        kinds = _ONLY_FOR.get(key, (config.kind,))
        if config.kind not in kinds:
            yield key, f"means nothing to kind {config.kind}: leave it out"
    if config.api_key_env and config.api_key_file:
        yield "api_key_file", "stands beside api_key_env: leave one of the two out"
    if config.url and (fault := url_fault(config)):
        yield "base_url", fault


def url_fault(config: ProviderConfig) -> str | None:
    """What is wrong with the base address. A name's addresses are looked at when it is connected to."""
    url = config.url
    parts = _split(url)
    if parts is None or not _is_plain(url) or "@" in parts.netloc or "?" in url or "#" in url:
        return "must be an http or https address without user, query or fragment"
    host = parts.hostname or ""
    if config.kind == "anthropic" and parts.path.rstrip("/").endswith("/v1"):
        return "must be without /v1, which the Messages API adds itself"
    reach = literal_reach(host)
    if reach is None and _NUMERIC_HOST.fullmatch(host):
        return "must have the host as four decimal numbers, such as 127.0.0.1, or as a name"
    if reach is Reach.NEVER:
        return f"must not lead to {host}: no provider answers there, only what is to be kept from strangers"
    if reach in (Reach.LOOPBACK, Reach.PRIVATE) and not config.allow_private:
        return f"leads to {host} on a private network: say so with allow_private = true in a table [providers.NAME]"
    if parts.scheme == "http" and (not config.allow_private or reach is Reach.PUBLIC):
        return (
            "must be https, else everybody on the way reads key and texts; "
            "http is for a private network only, with allow_private = true in a table [providers.NAME]"
        )
    return None


def _variable_fault(variable: str) -> str | None:
    if not _VARIABLE.fullmatch(variable):
        return "must be the name of a variable, in capital letters, such as MISTRAL_API_KEY, and not the key itself"
    if variable in _SETTINGS:
        return f"names {variable}, which is a setting of the service and no provider's key"
    return None


def _headers_fault(headers: Mapping[str, str]) -> str | None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return "must have names and values that HTTP takes: visible ASCII, on one line"
        if name.lower() in _KEY_HEADERS or value.lower().startswith(("bearer ", "basic ")):
            return f"must not have {name}: {_NO_KEY_HERE}"
        if name.lower() in _OWN_HEADERS:
            return f"must not have {name}, which the service says itself"
    return None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if good else None


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url
