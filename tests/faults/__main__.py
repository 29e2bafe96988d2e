"""`make faults`: runs the matrix with a live table, and writes a report of the figures.

The environment says what runs: ROWS=F1,F3 (default: all), SEED= (default: random), REPEAT= (default: 1), REAL=1 for the
durations that users have, STORE=postgres for a Postgres in place of SQLite, REPORT= (default: faults.json).
"""

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.durations import Durations
from tests.faults.rows import Context, Row, all_rows
from tests.faults.store import chosen

#: By what a result says of whether it holds: None, that this machine can't show it.
_WORDS = {True: "ok  ", False: "FAIL", None: "skip"}


def main() -> int:
    """Returns the exit code: 0 where every row held."""
    _explain()
    asked = [name for name in os.environ.get("ROWS", "").replace(" ", "").split(",") if name]
    known = all_rows()
    if unknown := set(asked) - set(known):
        print(f"there are no rows {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    durations = Durations(real=os.environ.get("REAL") == "1", strict=True)
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    repeat = int(os.environ.get("REPEAT") or 1)
    words = "the real durations" if durations.real else "short durations"
    print(f"seed {seed}, {repeat} time(s), {words}, {chosen()}; {platform.platform()}, {os.cpu_count()} cores\n")
    results = [_run(known[name], durations, seed + turn) for turn in range(repeat) for name in asked or known]
    return _report(results, seed, durations)


def _explain() -> None:
    """Answers --help with what the module says and the rows that there are; refuses any other word."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        epilog="\n".join(["rows:", *(f"  {row.name:<4} {row.fault}" for row in all_rows().values())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()


def _run(row: Row, durations: Durations, seed: int) -> dict[str, Any]:
    print(f"  …    {row.name:<4} {row.fault}", end="\r", flush=True)
    began = time.monotonic()
    result: dict[str, Any] = {"row": row.name, "fault": row.fault, "seed": seed}
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        try:
            if chosen() not in row.stores:
                pytest.skip(f"it makes no sense with {chosen()}")
            figures = asyncio.run(row.show(Context(Path(folder), durations, random.Random(f"{seed} {row.name}"))))
            result |= {"holds": True, "figures": figures}
        except pytest.skip.Exception as why:
            result |= {"holds": None, "figures": {}, "why": str(why)}
        except (Exception, pytest.fail.Exception) as error:
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
            result |= {"holds": False, "figures": {}, "why": f"{type(error).__name__}: {error} ({where})"}
    result["seconds"] = round(time.monotonic() - began, 1)
    told = "; ".join(f"{name} {value}" for name, value in result["figures"].items())
    print(f"  {_WORDS[result['holds']]} {row.name:<4} {row.fault:<62} {result['seconds']:>6} s  {told}")
    if not result["holds"]:
        print(f"       {result['why']}")
    return result


def _report(results: list[dict[str, Any]], seed: int, durations: Durations) -> int:
    passed, failed, skipped = (
        [each["row"] for each in results if each["holds"] is held] for held in (True, False, None)
    )
    path = Path(os.environ.get("REPORT") or "faults.json")
    about = {
        "seed": seed,
        "real": durations.real,
        "store": chosen(),
        "machine": platform.platform(),
        "python": platform.python_version(),
    }
    path.write_text(json.dumps(about | {"results": results}, indent=1, default=str) + "\n")
    print(f"\n{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped; figures in {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
