"""Lines over one axis as SVG, each line in a panel of its own."""

from dataclasses import dataclass
from html import escape

WIDTH, PANEL, MARGIN = 860, 200, 60


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity; its panel begins at 0."""

    name: str
    values: list[float]
    color: str


def plot(title: str, axis: str, over: list[float], lines: list[Line]) -> str:
    """`over`: where each value stands on the axis, which is called `axis`."""
    height = MARGIN + len(lines) * (PANEL + MARGIN)
    style = "font-family:system-ui,sans-serif;font-size:13px"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" style="{style}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="28" font-size="16" font-weight="600">{escape(title)}</text>',
    ]
    for number, line in enumerate(lines):
        parts += _panel(line, over, axis, MARGIN + number * (PANEL + MARGIN))
    return "\n".join([*parts, "</svg>\n"])


def _panel(line: Line, over: list[float], axis: str, top: int) -> list[str]:
    most, last = max(line.values) * 1.15 or 1.0, max(over) or 1.0
    width, bottom = WIDTH - 2 * MARGIN, top + PANEL
    points = " ".join(
        f"{MARGIN + width * x / last:.1f},{bottom - PANEL * y / most:.1f}"
        for x, y in zip(over, line.values, strict=True)
    )
    marks = []
    for share in (0.0, 0.5, 1.0):
        y = bottom - PANEL * share
        marks.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" stroke="#d0d7de"/>')
        marks.append(f'<text x="{MARGIN - 8}" y="{y + 4}" text-anchor="end" fill="#57606a">{most * share:.0f}</text>')
        x = MARGIN + width * share
        label = f"{last * share:.1f} {axis}" if share else "0"
        marks.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle" fill="#57606a">{label}</text>')
    return [
        f'<text x="{MARGIN}" y="{top - 8}" fill="{line.color}" font-weight="600">{escape(line.name)}</text>',
        *marks,
        f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="1.5"/>',
    ]
