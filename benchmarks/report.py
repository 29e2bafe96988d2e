"""What a run of `first_token` leaves: JSON, tables in Markdown, a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bars import Bars, Panel, bars
from benchmarks.figures import Figures, Quantiles
from benchmarks.page import PICTURES, insert, warning

NAMES = {
    "provider": "the provider asked directly",
    "streamer": "streamer, a visitor's chat",
    "server": "streamer, /v1/chat",
    "stock": "streamer with Dramatiq's own consumer",
    "litellm": "LiteLLM's proxy",
}

OURS = "streamer"

SHADES = [("p50", "#1f6feb"), ("p95", "#79b8ff"), ("p99", "#b35900")]


def write(
    out: Path,
    about: Mapping[str, str],
    loads: Sequence[str],
    asked: Mapping[str, Any],
    found: Sequence[Figures],
    *,
    docs: bool,
) -> None:
    """All three files into the folder `out`; with `docs`, tables and picture into the documentation, too."""
    out.mkdir(parents=True, exist_ok=True)
    scenes = {
        "one": "1 request at a time",
        "together": f"{asked['burst']} requests that begin together",
        "rate": f"{asked['rate']:g} requests a second for {asked['seconds']:g} s",
        "cold": "the first request after a start",
    }
    whole = {
        "machine": about,
        "load_averages": list(loads),
        "asked": asked,
        "figures": [_plain(each) for each in found],
    }
    (out / "first_token.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    lines, picture = _page(about, loads, scenes, found), _picture(scenes, found)
    (out / "first_token.md").write_text("\n".join(lines) + "\n")
    (out / "first_token.svg").write_text(picture)
    if docs:
        insert("first_token", lines)
        (PICTURES / "first_token.svg").write_text(picture)


def _plain(figures: Figures) -> dict[str, Any]:
    """With the quantiles by their names, which JSON would lose."""
    parts = {name: value._asdict() for name, value in figures.parts.items()}
    more = {"own_ms": figures.own_ms._asdict(), "late_ms": figures.late_ms._asdict(), "parts": parts}
    return asdict(figures) | more


def _page(
    about: Mapping[str, str], loads: Sequence[str], scenes: Mapping[str, str], found: Sequence[Figures]
) -> list[str]:
    runs = " · ".join(loads)
    lines = [", ".join(f"{name} {value}" for name, value in about.items()), f"Load averages before the runs: {runs}."]
    lines += warning(loads[0])
    for scene, title in scenes.items():
        lines += ["", f"**{title}**: our own part, ms, a figure for each run", ""]
        lines += ["| | p50 | p95 | p99 | p50 beside ours | failed |", "|---|---|---|---|---|---|"]
        lines += [_row(name, scene, found) for name in NAMES if _of(found, name, scene)]
    for scene in ("one", "rate"):
        lines += ["", f"**{scenes[scene]}**: the parts of ours, ms, p50 / p95 / p99 of each run", ""]
        lines += _parts(_of(found, OURS, scene))
    lines += ["", f"**{scenes['rate']}**: processor time, share of one core, median of the runs", ""]
    lines += _cpu([each for each in found if each.scene == "rate"])
    return lines


def _of(found: Sequence[Figures], subject: str, scene: str) -> list[Figures]:
    return [each for each in found if (each.subject, each.scene) == (subject, scene)]


def _row(name: str, scene: str, found: Sequence[Figures]) -> str:
    theirs, ours = _of(found, name, scene), _of(found, OURS, scene)
    cells = [" · ".join(_ms(getattr(each.own_ms, part)) for each in theirs) for part in ("p50", "p95", "p99")]
    beside = [each.own_ms.p50 / mine.own_ms.p50 for each, mine in zip(theirs, ours, strict=False) if mine.own_ms.p50]
    ratio = f"{median(beside):,.2f} ×" if beside else ""
    return f"| {NAMES[name]} | {' | '.join(cells)} | {ratio} | {sum(each.failed for each in theirs)} |"


def _parts(ours: Sequence[Figures]) -> list[str]:
    if not ours:
        return []
    lines = [f"| | {' | '.join(f'run {each.run}' for each in ours)} |", "|---" * (len(ours) + 1) + "|"]
    return lines + [f"| {name} | {' | '.join(_three(each.parts[name]) for each in ours)} |" for name in ours[0].parts]


def _cpu(found: Sequence[Figures]) -> list[str]:
    names = list(dict.fromkeys(name for each in found for name in each.cpu))
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for subject in NAMES:
        of_subject = [each for each in found if each.subject == subject]
        if of_subject:
            shares = [[each.cpu[name] for each in of_subject if name in each.cpu] for name in names]
            cells = [f"{median(each):.0%}" if each else "" for each in shares]
            lines.append(f"| {NAMES[subject]} | {' | '.join(cells)} |")
    return lines


def _picture(scenes: Mapping[str, str], found: Sequence[Figures]) -> str:
    panels = []
    for scene in ("one", "rate", "together"):
        rows = []
        for name, title in NAMES.items():
            if runs := _of(found, name, scene):
                rows.append(Bars(title, [median(each.own_ms[place] for each in runs) for place in range(3)]))
        panels.append(Panel(scenes[scene], rows))
    return bars("POST to the first text, without the provider's own time: median of the runs", "ms", SHADES, panels)


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _three(found: Quantiles) -> str:
    return " / ".join(map(_ms, found[:3]))
