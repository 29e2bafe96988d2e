"""The house's one rule about imports: models ← tasks ← streamer, and nothing in the product imports its tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {"models": {"models"}, "tasks": {"models", "tasks"}, "streamer": {"models", "tasks", "streamer"}}
OURS = {*ALLOWED, "tests"}


def modules_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize("package", list(ALLOWED))
def test_imports_run_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for module in modules_imported(path):
            first = module.partition(".")[0]
            assert first not in OURS or first in ALLOWED[package], f"{path.relative_to(ROOT)} imports {module}"


def reads_environment(path: Path) -> bool:
    names = {"environ", "environb", "getenv"}
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in names
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_only_the_settings_read_the_environment() -> None:
    """`part.py` hands the whole of it on to the processes that it starts, and reads nothing in it."""
    readers = {
        str(path.relative_to(ROOT))
        for package in ALLOWED
        for path in (ROOT / package).rglob("*.py")
        if reads_environment(path)
    }
    assert readers == {"models/settings.py", "streamer/part.py"}
