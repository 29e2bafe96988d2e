"""Bars on a logarithmic axis as SVG, a panel for each group: what differs by a hundred times stands in one picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD = 860, 270, 90, 13, 14, 46

STYLE = "font-family:system-ui,sans-serif;font-size:13px"


@dataclass(frozen=True, slots=True)
class Bars:
    """The values of one row; `shades` are the fills of its bars, in their order."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows that are compared."""

    title: str
    rows: Sequence[Bars]


def bars(title: str, unit: str, shades: Sequence[tuple[str, str]], panels: Sequence[Panel]) -> str:
    """`shades`: name and color of each bar in a row."""
    values = [value for panel in panels for row in panel.rows for value in row.values if value > 0]
    low = 10 ** math.floor(math.log10(min(values, default=1)))
    high = 10 ** math.ceil(math.log10(max(values, default=10)))
    row_height = len(shades) * BAR + GAP
    tops, top = [], 78
    for panel in panels:
        tops.append(top)
        top += HEAD + len(panel.rows) * row_height + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" style="{STYLE}">',
        f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>',
        f'<text x="24" y="30" font-size="16" font-weight="600" fill="#1f2328">{escape(title)}</text>',
        *_legend(shades),
    ]
    for panel, place in zip(panels, tops, strict=True):
        parts += _panel(panel, place, shades, unit, (low, high))
    return "\n".join([*parts, "</svg>\n"])


def _legend(shades: Sequence[tuple[str, str]]) -> list[str]:
    found = []
    for number, (name, color) in enumerate(shades):
        x = 24 + number * 90
        found.append(f'<rect x="{x}" y="44" width="12" height="12" fill="{color}"/>')
        found.append(f'<text x="{x + 18}" y="55" fill="#57606a">{escape(name)}</text>')
    return found


def _panel(
    panel: Panel, top: int, shades: Sequence[tuple[str, str]], unit: str, span: tuple[float, float]
) -> list[str]:
    low, high = span
    width, row_height = WIDTH - LEFT - RIGHT, len(shades) * BAR + GAP
    bottom = top + HEAD + len(panel.rows) * row_height - GAP
    found = [f'<text x="24" y="{top + 20}" font-weight="600" fill="#1f2328">{escape(panel.title)}</text>']
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        x = LEFT + width * (power - math.log10(low)) / math.log10(high / low)
        found.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 34}" y2="{bottom}" stroke="#d0d7de"/>')
        mark = f"{10**power:g} {unit}"
        found.append(
            f'<text x="{x:.1f}" y="{top + 28}" text-anchor="middle" fill="#57606a" font-size="11">{mark}</text>'
        )
    for number, row in enumerate(panel.rows):
        y = top + HEAD + number * row_height - 4
        middle = y + len(shades) * BAR / 2 + 5
        found.append(
            f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end" fill="#1f2328">{escape(row.name)}</text>'
        )
        for place, (value, (_, color)) in enumerate(zip(row.values, shades, strict=True)):
            length = width * math.log10(max(value, low) / low) / math.log10(high / low)
            at = y + place * BAR
            found.append(f'<rect x="{LEFT}" y="{at}" width="{length:.1f}" height="{BAR - 2}" fill="{color}"/>')
            found.append(
                f'<text x="{LEFT + length + 6:.1f}" y="{at + 10}" fill="#1f2328" font-size="11">{_short(value)}</text>'
            )
    return found


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
