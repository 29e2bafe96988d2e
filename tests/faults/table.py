"""Reports of the matrix as one table, for `docs/reliability.md`: `python -m tests.faults.table REPORT.json …`."""

import json
import sys
from pathlib import Path
from typing import Any


def table(reports: list[dict[str, Any]]) -> str:
    """One line a row, with the figures of each report behind it."""
    titles = [f"{'real' if report['real'] else 'short'} durations, seed {report['seed']}" for report in reports]
    lines = ["| row | fault | " + " | ".join(titles) + " |", "|---|---|" + "---|" * len(reports)]
    found = [{each["row"]: each for each in report["results"]} for report in reports]
    faults = {row: each["fault"] for results in found for row, each in results.items()}
    for row, fault in faults.items():
        cells = [_cell(results[row]) if row in results else "–" for results in found]
        lines.append(f"| {row} | {fault} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(result: dict[str, Any]) -> str:
    if result["holds"]:
        return "; ".join(f"{name} {value}" for name, value in result["figures"].items())
    return f"{'not shown' if result['holds'] is None else '**fails**'}: {result['why']}"


if __name__ == "__main__":
    print(table([json.loads(Path(name).read_text()) for name in sys.argv[1:]]))
