"""The figures in `docs/performance.md`, each between two marks that bear its command's name."""

from collections.abc import Sequence

from benchmarks.process import ROOT

PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "pictures"


#: The load average of a minute beyond which a machine is not quiet.
QUIET_LOAD = 1.0


def warning(load: str) -> list[str]:
    """What is to be said of figures that were taken at that load average, before anything of ours ran."""
    busy = float(load.split(" ")[0]) > QUIET_LOAD
    return ["**Other programs were running: these are no figures of a quiet machine.**"] if busy else []


def insert(name: str, lines: Sequence[str]) -> None:
    """Puts the lines in the place of what stood between the marks."""
    begin, end = (f"<!-- {name}: {mark} -->\n" for mark in ("begin", "end"))
    head, _, rest = PAGE.read_text().partition(begin)
    _, found, tail = rest.partition(end)
    assert found, f"{PAGE} has no marks for {name}"
    PAGE.write_text(head + begin + "\n".join(["", *lines, "", ""]) + end + tail)
