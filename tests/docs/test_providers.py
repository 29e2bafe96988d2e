"""docs/providers.md: every key of a table is there, and every recipe is one that the check takes."""

import re
from pathlib import Path

import msgspec
import pytest

from models.provider_config import ProviderConfig
from models.settings import Settings, env_name
from streamer.routes_command import check
from tests.docs.pages import DOCS, blocks

PAGE = (DOCS / "providers.md").read_text()
RECIPES = blocks("providers.md", "toml")
TITLES = ["OpenAI", "Anthropic", "Azure OpenAI", "Ollama", "vLLM", "llama.cpp server", "OpenRouter", "Mistral"]


@pytest.mark.parametrize("field", msgspec.structs.fields(ProviderConfig), ids=lambda field: field.name)
def test_every_key_of_a_provider_has_a_row_with_its_default(field: msgspec.structs.FieldInfo) -> None:
    default = re.search(rf"^\| `{field.name}` \| (.+?) \|", PAGE, re.MULTILINE)

    assert default is not None
    if isinstance(field.default, bool):
        assert default[1] == f"`{str(field.default).lower()}`"
    if field.name.endswith("_seconds"):
        assert default[1] == f"`{env_name(f'provider_{field.name}')}`"


def test_every_server_has_a_recipe() -> None:
    sections = PAGE.split("\n## ")[1:]
    assert [each.partition("\n")[0] for each in sections if "```toml" in each] == TITLES
    assert all("\nLacks:" in each or " Lacks" in each or "\nLacks" in each for each in sections if "```toml" in each)


@pytest.mark.parametrize("recipe", RECIPES, ids=TITLES)
def test_every_recipe_is_fine(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = re.search(r"\[providers\.(.+)\]", recipe)
    assert name is not None
    file = tmp_path / "some.toml"
    file.write_text(f'{recipe}\n[routes.chat]\nmodel = "{name[1]}:some-model"\nmax_output_tokens = 100\n')

    assert check(Settings(), str(file)) == 0, capsys.readouterr().out
