"""The table of settings in `docs/configuration.md`, made from the settings themselves.

`python -m tests.docs.configuration` writes it anew.
"""

from dataclasses import fields
from pathlib import Path

from models.settings import Settings, env_name

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->"


def table() -> str:
    """One row a setting: variable, default, unit, meaning."""
    rows = ["| variable | default | unit | meaning |", "|---|---|---|---|"]
    for item in fields(Settings):
        default = "" if item.default == "" else f"`{item.default}`"
        meaning = str(item.metadata["help"]).replace("|", "\\|")
        rows.append(f"| `{env_name(item.name)}` | {default} | {item.metadata['unit']} | {meaning} |")
    return "\n".join(rows) + "\n"


def rewritten(page: str) -> str:
    """The page with the table as it is now."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
