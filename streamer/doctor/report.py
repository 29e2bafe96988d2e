"""What `streamer doctor` prints: a table for people, JSON for programs, and no secret in either."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TextIO
from urllib.parse import unquote, urlsplit

from models.settings import Settings
from streamer.doctor.check import Finding, Line, Verdict
from streamer.version import version

_COLOURS = {Verdict.OK: "32", Verdict.WARNING: "33", Verdict.FAILED: "31"}

#: Secrets shorter than this can't be told from ordinary words.
SHORTEST_SECRET = 6


class Scrubber:
    """Takes the settings' secrets and `others` out of a text: the checks tell none, and this is the net below them."""

    def __init__(self, settings: Settings, others: Iterable[str] = ()) -> None:
        values = [*(str(getattr(settings, item.name)) for item in fields(settings) if not item.repr), *others]
        passwords = [_password(each) for each in values if "://" in each]
        # An address as a whole is no secret, what stands in it before the @ is.
        found = {each for each in [*values, *passwords, *map(unquote, passwords)] if "://" not in each}
        self._secrets = sorted((each for each in found if len(each) >= SHORTEST_SECRET), key=len, reverse=True)

    def line(self, line: Line) -> Line:
        verdict, found, change = line.finding
        return Line(line.name, Finding(verdict, self.text(found), self.text(change)))

    def text(self, text: str) -> str:
        for each in self._secrets:
            text = text.replace(each, "…")
        return text


def print_line(line: Line, width: int, out: TextIO, *, coloured: bool) -> None:
    """One line of the table, and below it what to change."""
    verdict, found, change = line.finding
    word = f"{verdict:<7}"
    print(f"{_in_colour(word, verdict) if coloured else word}  {line.name:<{width}}  {found}", file=out)
    if change:
        print(f"{'':<7}  {'':<{width}}  → {change}", file=out)


def print_sum(lines: Sequence[Line], out: TextIO) -> None:
    """The last line of the table."""
    of_each = {verdict: sum(line.finding.verdict is verdict for line in lines) for verdict in Verdict}
    print(f"\n{', '.join(f'{number} {verdict}' for verdict, number in of_each.items())}", file=out)


def as_json(lines: Iterable[Line]) -> str:
    """`{"verdict", "version", "checks": [{"name", "verdict", "found", "change"}]}`; a check with more to tell comes again."""
    lines = list(lines)
    checks = [{"name": line.name, **line.finding._asdict()} for line in lines]
    return json.dumps({"verdict": worst(lines), "version": version(), "checks": checks}, ensure_ascii=False, indent=2)


def worst(lines: Iterable[Line]) -> Verdict:
    """The worst verdict of all."""
    order = list(Verdict)
    return max((line.finding.verdict for line in lines), key=order.index, default=Verdict.OK)


def _in_colour(text: str, verdict: Verdict) -> str:
    return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m"


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return url.partition("://")[2].rpartition("@")[0].partition(":")[2]
