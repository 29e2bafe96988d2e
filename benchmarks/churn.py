"""Memory and descriptors of a web process while viewers churn: they come, watch for a while, and go, most of them early.

Real processes of the service, a fake provider. Writes `churn.csv` and `churn.svg`; fails where memory or descriptors grow.
"""

import argparse
import asyncio
import contextlib
import csv
import random
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.page import PICTURES, insert
from benchmarks.plot import Line, plot
from tests.fakes.openai_server import Answer
from tests.faults.durations import Durations
from tests.faults.installation import Installation

#: Share of the run that is not judged: caches fill, and the allocator finds its size.
WARM_UP = 0.3

#: What the last third may have over the one before, in its least: what is open at a moment goes up and down, a leak stays.
MAX_GROWTH_KIB, MAX_GROWTH_DESCRIPTORS = 8 * 1024, 10


@dataclass(frozen=True, slots=True)
class Sample:
    """The web process at one moment, and what was asked of it so far."""

    seconds: float
    resident_kib: int
    descriptors: int
    connections: int
    answers: int


def look(pid: int, seconds: float, connections: int, answers: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Sample(round(seconds, 1), int(resident.split()[1]), descriptors, connections, answers)


class Churn:
    """Answers are asked for one after the other in each of `chains`; each has viewers that come and go."""

    def __init__(self, it: Installation, port: int, seed: int) -> None:
        self._it = it
        self._port = port
        self._random = random.Random(seed)
        self.connections = 0
        self.answers = 0

    async def chain(self, name: str, viewers: int, until: float) -> None:
        while time.monotonic() < until:
            self.answers += 1
            message = f"churn {name} {self.answers}"
            chat = await self._it.ask(self._port, message)
            await asyncio.gather(*(self._watch(chat, message) for _ in range(viewers)))

    async def _watch(self, chat: dict[str, object], message: str) -> None:
        """Comes and goes until the end; a third of the connections go before anything has come."""
        viewer = await self._it.watch(self._port, chat, message)
        while viewer.end is None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await viewer.connect_once(self._random.choice((0, 1, 4, 16)))
            self.connections += 1
            if viewer.end is None:
                await asyncio.sleep(self._random.random() / 10)


async def measure(folder: Path, minutes: float, chains: int, viewers: int, seed: int) -> list[Sample]:
    """A sample a second."""
    async with Installation(folder, Durations()) as it:
        it.provider.usually = Answer(tokens=60, delay_seconds=0.02)
        web, port = await it.start_web()
        await it.start_worker()
        await it.visitor(port)
        churn, began = Churn(it, port, seed), time.monotonic()
        until = began + minutes * 60
        running = [asyncio.create_task(churn.chain(str(number), viewers, until)) for number in range(chains)]
        samples = []
        while time.monotonic() < until:
            await asyncio.sleep(1)
            now = time.monotonic() - began
            samples.append(look(web.pid, now, churn.connections, churn.answers))
            print(
                f"\r{now:5.0f} s  {samples[-1].resident_kib / 1024:6.1f} MiB  {samples[-1].descriptors:4} descriptors  "
                f"{churn.connections} connections",
                end="",
                flush=True,
            )
        await asyncio.gather(*running)
        print()
        return samples


def growth(samples: list[Sample], name: str) -> float:
    """The least of the last third over that of the third before it, the warm-up aside."""
    judged = [getattr(each, name) for each in samples[int(len(samples) * WARM_UP) :]]
    third = max(1, len(judged) // 3)
    return float(min(judged[-third:]) - min(judged[-2 * third : -third] or judged[:third]))


def write(samples: list[Sample], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "churn.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(each) for each in samples)
    minutes = [each.seconds / 60 for each in samples]
    lines = [
        Line("resident memory, MiB", [each.resident_kib / 1024 for each in samples], "#1f6feb"),
        Line("open descriptors", [float(each.descriptors) for each in samples], "#b35900"),
    ]
    title = f"A web process under {samples[-1].connections:,} connections of viewers"
    (out / "churn.svg").write_text(plot(title, "minutes", minutes, lines))


def table(samples: list[Sample]) -> list[str]:
    """A line a minute, in Markdown."""
    lines = ["| minute | MiB | descriptors | connections so far | answers so far |", "|---|---|---|---|---|"]
    last = samples[-1].seconds
    for sample in samples:
        if sample is samples[-1] or (sample.seconds // 60 > (sample.seconds - 1) // 60 and sample.seconds < last - 30):
            cells = (f"{sample.resident_kib / 1024:.1f}", sample.descriptors, sample.connections, sample.answers)
            lines.append(
                f"| {sample.seconds / 60:.0f} | "
                + " | ".join(f"{each:,}" if isinstance(each, int) else each for each in cells)
                + " |"
            )
    return lines


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 where nothing grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks churn", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--chains", type=int, default=10, help="answers under way at once")
    parser.add_argument("--viewers", type=int, default=10, help="viewers of each answer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/performance.md, too")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="churn-") as folder:
        samples = asyncio.run(measure(Path(folder), given.minutes, given.chains, given.viewers, given.seed))
    write(samples, given.out)
    memory, descriptors = growth(samples, "resident_kib"), growth(samples, "descriptors")
    told = f"grown by {memory / 1024:.1f} MiB and {descriptors:g} descriptors"
    print(f"{told}; figures in {given.out}/churn.csv, churn.svg")
    if given.docs:
        shutil.copy(given.out / "churn.svg", PICTURES / "churn.svg")
        asked = f"{given.chains} answers under way at once, {given.viewers} viewers each: {told} in the last third."
        insert(
            "churn", [asked, "", *table(samples), "", "![Memory and descriptors of a web process](pictures/churn.svg)"]
        )
    return 0 if memory <= MAX_GROWTH_KIB and descriptors <= MAX_GROWTH_DESCRIPTORS else 1
