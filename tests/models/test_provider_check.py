"""Tables of providers: every mistake with its line and key, and no key quoted."""

from pathlib import Path

import pytest

from models.errors import SettingInvalid
from models.provider_config import ProviderConfig
from models.route_file import RoutesInvalid, load_providers
from models.settings import Settings

GOOD = """
[providers.near]
kind = "openai"
base_url = "http://gpu.lan:8000/v1"
api_key_env = "NEAR_API_KEY"
headers = { x-team = "search" }
include_usage = false
end_is_finish = true
max_tokens_field = "max_tokens"
allow_private = true
connect_seconds = 1
first_byte_seconds = 120
idle_seconds = 2.5

[providers.claude]
kind = "anthropic"
api_key_file = "/run/secrets/claude"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where streamer.toml is looked for: a working folder without any."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "streamer.toml"


def test_a_good_table_is_read_with_every_key(file: Path) -> None:
    file.write_text(GOOD)
    found = load_providers(Settings())
    assert found["near"] == ProviderConfig(
        kind="openai",
        base_url="http://gpu.lan:8000/v1",
        api_key_env="NEAR_API_KEY",
        headers={"x-team": "search"},
        include_usage=False,
        end_is_finish=True,
        max_tokens_field="max_tokens",
        allow_private=True,
        connect_seconds=1,
        first_byte_seconds=120,
        idle_seconds=2.5,
    )
    assert found["claude"] == ProviderConfig(kind="anthropic", api_key_file="/run/secrets/claude")


OPENAI = '[providers.p]\nkind = "openai"\n'
SAFE = "must be https, else everybody on the way reads key and texts"
NO_KEY = "a key does not belong into this file, which is copied, shared and versioned: name the variable"
WRONG = {
    "a misspelt table": ("[provider.p]", "1: provider: unknown key; did you mean providers?"),
    "providers that are no table": ("providers = 3", "1: providers: must hold tables [providers.NAME], not 3"),
    "a provider that is no table": ("[providers]\np = 3", "2: providers.p: must be a table [providers.p], not 3"),
    "a name with blanks": ("[providers.'a b']\nkind = 'demo'", '1: providers."a b": a provider\'s name has up to 64'),
    "no kind": ("[providers.p]", '1: providers.p.kind: is missing; most servers are "openai"'),
    "an unknown kind": ("[providers.p]\nkind = 'x'", '2: providers.p.kind: must be "openai" or "anthropic" or "demo"'),
    "an unknown key": (OPENAI + "base_ur = 1", "3: providers.p.base_ur: unknown key; did you mean base_url?"),
    "a text for a yes": (OPENAI + "end_is_finish = 'no'", "3: providers.p.end_is_finish: must be true or false, not"),
    "no time": (OPENAI + "idle_seconds = 0", "3: providers.p.idle_seconds: must be a number from 0.01 to 86400, not 0"),
    "another field": (
        OPENAI + "max_tokens_field = 'x'",
        '3: providers.p.max_tokens_field: must be "max_tokens" or "max_',
    ),
    "the key": (OPENAI + "api_key = 'sk-canary'", f"3: providers.p.api_key: {NO_KEY}"),
    "the key under another name": (OPENAI + "Token = 'sk-canary'", f"3: providers.p.Token: {NO_KEY}"),
    "the key for its variable": (
        OPENAI + "api_key_env = 'sk-canary'",
        "3: providers.p.api_key_env: must be the name of a variable, in capital letters",
    ),
    "a key of small letters for its variable": (
        OPENAI + "api_key_env = 'gsk_canary'",
        "3: providers.p.api_key_env: must be the name of a variable, in capital letters",
    ),
    "keys for their variable": (OPENAI + "api_key_env = ['sk-canary']", "3: providers.p.api_key_env: must be text"),
    "the key for its file": (
        OPENAI + "api_key_file = 'sk-canary'",
        "3: providers.p.api_key_file: must be the file's whole path, from / on",
    ),
    "the service's own secret": (
        OPENAI + "api_key_env = 'STREAMER_SECRET'",
        "3: providers.p.api_key_env: names STREAMER_SECRET, which is a setting of the service",
    ),
    "two places for the key": (
        OPENAI + "api_key_env = 'A'\napi_key_file = '/a'",
        "4: providers.p.api_key_file: stands beside api_key_env",
    ),
    "the key in a header": (
        OPENAI + "headers = { Authorization = 'x canary' }",
        "3: providers.p.headers: must not have Authorization: a key does not belong",
    ),
    "the key in some header": (
        OPENAI + "headers = { x = 'Bearer canary' }",
        "3: providers.p.headers: must not have x: a key does not belong",
    ),
    "the service's own header": (
        OPENAI + "headers = { Host = 'x' }",
        "3: providers.p.headers: must not have Host, which the service says itself",
    ),
    "a header in two lines": (
        OPENAI + 'headers = { x = "a\\r\\nhost: canary" }',
        "3: providers.p.headers: must have names and values that HTTP takes",
    ),
    "a header's name that is none": (
        OPENAI + "headers = { 'a b' = 'c' }",
        "3: providers.p.headers: must have names and values that HTTP takes",
    ),
    "headers that are no texts": (OPENAI + "headers = { x = 1 }", "3: providers.p.headers: must be a table of texts"),
    "what another kind has": (
        "[providers.p]\nkind = 'anthropic'\nend_is_finish = true",
        "3: providers.p.end_is_finish: means nothing to kind anthropic: leave it out",
    ),
    "what no demo has": (
        "[providers.p]\nkind = 'demo'\nallow_private = true",
        "3: providers.p.allow_private: means nothing to kind demo: leave it out",
    ),
    "no address": (
        OPENAI + "base_url = 'api.x/v1'",
        "3: providers.p.base_url: must be an http or https address without",
    ),
    "a user in the address": (
        OPENAI + "base_url = 'https://a:canary@x/v1'",
        "3: providers.p.base_url: must be an http or https address without user, query or fragment",
    ),
    "plain http": (OPENAI + "base_url = 'http://x/v1'", f"3: providers.p.base_url: {SAFE}"),
    "plain http into the internet": (
        OPENAI + "base_url = 'http://8.8.8.8/v1'\nallow_private = true",
        f"3: providers.p.base_url: {SAFE}",
    ),
    "a private address": (
        OPENAI + "base_url = 'https://10.0.0.1/v1'",
        "3: providers.p.base_url: leads to 10.0.0.1 on a private network: say so with allow_private = true",
    ),
    "this machine": (OPENAI + "base_url = 'http://[::1]/v1'", "3: providers.p.base_url: leads to ::1 on a private"),
    "a mapped address": (
        OPENAI + "base_url = 'https://[::ffff:127.0.0.1]/v1'",
        "3: providers.p.base_url: leads to ::ffff:127.0.0.1 on a private",
    ),
    "a cloud's credentials": (
        OPENAI + "base_url = 'http://169.254.169.254/v1'\nallow_private = true",
        "3: providers.p.base_url: must not lead to 169.254.169.254: no provider answers there",
    ),
    "an address as one number": (
        OPENAI + "base_url = 'http://2130706433/v1'\nallow_private = true",
        "3: providers.p.base_url: must have the host as four decimal numbers",
    ),
    "an octal address": (
        OPENAI + "base_url = 'https://0177.0.0.1/v1'",
        "3: providers.p.base_url: must have the host as four decimal numbers",
    ),
    "a version too many": (
        "[providers.p]\nkind = 'anthropic'\nbase_url = 'https://x/v1/'",
        "3: providers.p.base_url: must be without /v1, which the Messages API adds itself",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_told_with_its_line_and_key_and_no_key_is_quoted(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(RoutesInvalid) as caught:
        load_providers(Settings())
    assert caught.value.message.startswith(f"{file.name}:{message}"), caught.value.message
    assert "canary" not in str(caught.value.lines)


def test_a_provider_with_a_mistake_is_known_all_the_same(file: Path) -> None:
    file.write_text('[routes.chat]\nmodel = "p:x"\n' + OPENAI + "idle_seconds = 0\n")
    with pytest.raises(SettingInvalid) as caught:
        load_providers(Settings())
    assert "more" not in caught.value.message
