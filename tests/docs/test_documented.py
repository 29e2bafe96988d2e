"""Nothing that users meet is undocumented."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from models.errors import RequestError, StreamerError, Unavailable, generation_failures
from models.event import Kind
from models.route import FROM_SETTINGS, Route
from models.settings import env_name
from streamer.app import papers
from streamer.cli import _parser
from streamer.operation import Operation
from tests.docs.configuration import PAGE, rewritten

DOCS = Path(__file__).parents[2] / "docs"


def errors_of(kind: type[StreamerError]) -> Iterator[str]:
    yield kind.code
    for each in kind.__subclasses__():
        yield from errors_of(each)


def commands_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield each.prog
                yield from commands_of(each)


def test_every_setting_stands_in_the_configuration_page_as_the_code_has_it() -> None:
    assert PAGE.read_text() == rewritten(PAGE.read_text()), "run: python -m tests.docs.configuration"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_event_kind_has_a_row_in_the_protocol(kind: Kind) -> None:
    assert f"| `{kind}` |" in (DOCS / "protocol.md").read_text()


@pytest.mark.parametrize("code", sorted({*errors_of(RequestError), *errors_of(Unavailable), "internal"}))
def test_every_error_code_has_a_row_in_the_protocol(code: str) -> None:
    assert f"| `{code}` |" in (DOCS / "protocol.md").read_text()


@pytest.mark.parametrize("code", sorted(generation_failures()))
def test_every_failure_code_has_a_row_in_the_protocol(code: str) -> None:
    assert f"| `{code}` |" in (DOCS / "protocol.md").read_text()


@pytest.mark.parametrize("command", list(commands_of(_parser())))
def test_every_command_stands_in_the_configuration_page(command: str) -> None:
    assert f"`{command}" in PAGE.read_text()


@pytest.mark.parametrize("field", msgspec.structs.fields(Route), ids=lambda field: field.name)
def test_every_key_of_a_route_has_a_row_in_the_routes_page(field: msgspec.structs.FieldInfo) -> None:
    default = re.search(rf"^\| `{field.name}` \| (.+?) \|", (DOCS / "routes.md").read_text(), re.MULTILINE)

    assert default is not None
    if field.name in FROM_SETTINGS:
        assert default[1] == f"`{env_name(field.name)}`"
    elif isinstance(field.default, str) and field.default:
        assert default[1] == f'`"{field.default}"`'


@pytest.mark.parametrize("operation", papers.operations, ids=lambda operation: operation.id)
def test_every_call_stands_in_the_protocol(operation: Operation) -> None:
    assert f"`{operation.method} {operation.path}`" in (DOCS / "protocol.md").read_text()
