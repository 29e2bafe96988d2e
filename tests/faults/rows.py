"""The matrix: a row has a name, a fault, and a function that shows what holds."""

import importlib
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.durations import Durations

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a row is run with: a folder of its own, the durations, and the only randomness it may use."""

    folder: Path
    durations: Durations
    random: random.Random


Show = Callable[[Context], Coroutine[Any, Any, Figures]]


@dataclass(frozen=True, slots=True)
class Row:
    """`show` returns the figures, or fails."""

    name: str
    fault: str
    show: Show
    stores: tuple[str, ...] = ("sqlite", "postgres")
    """Where it makes sense."""

    @property
    def file(self) -> str:
        """The name of the file that it stands in."""
        return self.show.__module__.rpartition(".")[2]


@dataclass(slots=True)
class _Matrix:
    rows: dict[str, Row] = field(default_factory=dict)


_MATRIX = _Matrix()


def row(name: str, fault: str, stores: tuple[str, ...] = ("sqlite", "postgres")) -> Callable[[Show], Show]:
    """Registers a row of the matrix."""

    def register(show: Show) -> Show:
        assert name not in _MATRIX.rows, f"two rows are called {name}"
        _MATRIX.rows[name] = Row(name, fault, show, stores)
        return show

    return register


def all_rows() -> dict[str, Row]:
    """Every row by its name, in the matrix's order."""
    for path in Path(__file__).parent.glob("*_rows.py"):
        if not path.stem.startswith("test_"):
            importlib.import_module(f"{__package__}.{path.stem}")  # it registers its rows
    return dict(sorted(_MATRIX.rows.items(), key=lambda item: (int(item[0][1:].rstrip("abc")), item[0])))
