"""Reports of the matrix as one table, for `docs/reliability.md`: `python -m tests.faults.table REPORT.json …`."""

import json
import sys
from pathlib import Path
from typing import Any


def table(reports: list[dict[str, Any]]) -> str:
    """One line a row, with the figures of each report behind it."""
    titles = [f"{'real' if report['real'] else 'short'} durations, seed {report['seed']}" for report in reports]
    lines = ["| row | fault | " + " | ".join(titles) + " |", "|---|---|" + "---|" * len(reports)]
    found: dict[str, list[str]] = {}
    faults: dict[str, str] = {}
    for report in reports:
        for result in report["results"]:
            told = "; ".join(f"{name} {value}" for name, value in result["figures"].items())
            faults[result["row"]] = result["fault"]
            missing = "not shown" if result["holds"] is None else "**fails**"
            found.setdefault(result["row"], []).append(told if result["holds"] else f"{missing}: {result['why']}")
    lines += [f"| {name} | {faults[name]} | " + " | ".join(cells) + " |" for name, cells in found.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([json.loads(Path(name).read_text()) for name in sys.argv[1:]]))
