"""The Dockerfile and .dockerignore as the builder reads them."""

import json
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from tests.packaging.fake_machine import ROOT


class Step(NamedTuple):
    """`RUN pip install …` in its two parts."""

    word: str
    rest: str


@dataclass
class Stage:
    """What stands from one FROM to the next."""

    base: str
    steps: list[Step] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [step.rest for step in self.steps if step.word == word]

    def one(self, word: str) -> str:
        (rest,) = self.all(word)
        return rest

    @property
    def env(self) -> dict[str, str]:
        return dict(pair for rest in self.all("ENV") for pair in re.findall(r"(\w+)=(\S+)", rest))


def stages() -> list[Stage]:
    """The stages, the last of which is the image."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    steps = [Step(*re.split(r"\s+", each.strip(), maxsplit=1)) for each in _joined(lines)]
    arguments = dict(each.rest.split("=", 1) for each in steps if each.word == "ARG")
    found: list[Stage] = []
    for step in steps:
        if step.word == "FROM":
            base = re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], step.rest)
            found.append(Stage(base))
        elif found:
            found[-1].steps.append(step)
    return found


def command_in(rest: str) -> list[str]:
    """The JSON list at the end of an instruction."""
    words = json.loads(rest[rest.index("[") :])
    assert all(isinstance(word, str) for word in words)
    return list(words)


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file of the project be sent to the builder: the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern, lets_in = line.removeprefix("!"), line.startswith("!")
        if _fits(path, pattern):
            sent = lets_in
    return sent


def _fits(path: str, pattern: str) -> bool:
    """A pattern fits a path, or a folder above it; `**/` stands for any folders, none among them."""
    parts = path.split("/")
    heads = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    if pattern.startswith("**/"):
        return any(fnmatchcase(part, pattern[3:]) for part in parts)
    return any(head.count("/") == pattern.count("/") and fnmatchcase(head, pattern) for head in heads)


def _joined(lines: list[str]) -> list[str]:
    return [each for each in "\n".join(lines).replace("\\\n", " ").splitlines() if each.strip()]
