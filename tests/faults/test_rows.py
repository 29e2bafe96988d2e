"""Each row of the matrix once, on SQLite; on Postgres what is about the store alone: `STORE=postgres make faults` shows all."""

from pathlib import Path

import pytest

from tests.faults.once import every_row, hold
from tests.faults.rows import Row, all_rows


@pytest.mark.parametrize("row", every_row())
async def test_holds(row: Row, tmp_path: Path) -> None:
    await hold(row, tmp_path)


@pytest.mark.usefixtures("postgres")
async def test_holds_while_postgres_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE", "postgres")

    await hold(all_rows()["F50"], tmp_path)
