"""The blocks of commands in the pages of `docs`."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order, without the indentation that a list gives them."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in text.splitlines(True)) for indent, text in found]


def commands(page: str) -> list[list[str]]:
    """Every `streamer …` in the page's blocks of commands, in words, quotes and all taken away."""
    text = "\n".join(blocks(page, "sh") + blocks(page, "console")).replace("\\\n", " ")
    return [
        found.split()
        for found in re.findall(r"(?:^|[$(] ?|-rm -v \S+ |exec \w+ )streamer ([a-z].*)$", text, re.MULTILINE)
    ]
