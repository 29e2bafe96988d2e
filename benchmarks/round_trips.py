"""What one request costs on its way: the statements to SQLite, the commands to Redis, the milliseconds, by phase and process.

Several requests are made one after the other; what is told is the median of each, so that renewals and sweeps fall out.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import uvloop

from benchmarks.client import Connections, Timeline, one_by_one, request, watch, whole
from benchmarks.commands import Command, monitored
from benchmarks.figures import load_average
from benchmarks.page import insert, warning
from benchmarks.process import Process
from benchmarks.provider_process import ProviderProcess
from benchmarks.service import Service
from benchmarks.statements import Statement

#: Seconds after an answer in which what follows it is awaited, before the next request.
REST_SECONDS = 0.4

REQUESTS, WARM_UP = 9, 5

PHASES = (
    "POST to its answer",
    "viewer joins",
    "worker, to the provider's request",
    "worker, to the first text",
    "after it",
)


@dataclass(frozen=True, slots=True)
class Step:
    """Something done by one process in one phase, so many times for a request, `after_ms` from its POST for the first time."""

    phase: str
    process: str
    store: str
    what: str
    times: int
    after_ms: float


@dataclass(frozen=True, slots=True)
class Done:
    """Something that was done, before it is known for which request."""

    at_ns: int
    process: str
    store: str
    what: str


@dataclass(slots=True)
class Turns:
    """One visitor's turns: each in a conversation of its own, or all in one."""

    connections: Connections
    token: str
    conversation: str | None

    async def ask(self, number: int, line: Timeline) -> None:
        body = {"message": f"And what is a hash table {time.monotonic_ns()}?", "conversation_id": self.conversation}
        connection = await self.connections.take()
        try:
            line.posted = time.monotonic_ns()
            found = await whole(connection, request("POST", "/ai/v1/chat", self.token, body), 202)
            line.accepted = time.monotonic_ns()
            await watch(connection, request("GET", found["links"]["events"], self.token), b"event: done", line)
        finally:
            self.connections.give_back(connection)
        await asyncio.sleep(REST_SECONDS)


def phase(line: Timeline, done: Done) -> str:
    """To which part of its request it belongs."""
    if done.process == "web":
        return PHASES[0] if done.at_ns < line.accepted else PHASES[1] if done.at_ns < line.ended else PHASES[4]
    return PHASES[2] if done.at_ns < line.asked else PHASES[3] if done.at_ns < line.seen else PHASES[4]


def steps(lines: Sequence[Timeline], found: Sequence[Done]) -> list[Step]:
    """The medians of all requests, in the order in which they begin. What not most requests do is no request's own."""
    ends = [*(line.posted for line in lines[1:]), lines[-1].ended + int(REST_SECONDS * 1e9)]
    times: defaultdict[tuple[str, str, str, str], list[list[float]]] = defaultdict(list)
    for line, end in zip(lines, ends, strict=True):
        own: defaultdict[tuple[str, str, str, str], list[float]] = defaultdict(list)
        for done in found:
            if line.posted <= done.at_ns < end:
                own[phase(line, done), done.process, done.store, done.what].append((done.at_ns - line.posted) / 1e6)
        for key, after_ms in own.items():
            times[key].append(after_ms)
    told = [
        Step(*key, times=round(median(map(len, each))), after_ms=round(median(map(min, each)), 2))
        for key, each in times.items()
        if len(each) > len(lines) / 2
    ]
    return sorted(told, key=lambda step: (PHASES.index(step.phase), step.after_ms))


def statements(process: str, file: Path) -> list[Done]:
    """Those of the threads that do a request's work."""
    noted = [Statement(*json.loads(line)) for line in file.read_text().splitlines()]
    return [Done(each.at_ns, process, "SQLite", each.shape) for each in noted if each.thread.startswith("database")]


def commands(processes: Sequence[Process], found: Sequence[Command]) -> list[Done]:
    """With the process whose connection it was; heartbeats of the queue for delayed messages, which is unused, are left out."""
    owners = {port: process.name for process in processes for port in ports(process.pid)}
    return [
        Done(each.at_ns, owners.get(each.port, "?"), "Redis", each.name)
        for each in found
        if not each.name.endswith(".DQ")
    ]


def ports(pid: int) -> set[int]:
    """The local TCP ports of a process."""
    links = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in links}


async def trace(conversation: str | None) -> tuple[list[Timeline], list[Step]]:
    """Requests to a service of their own, and what each of them costs."""
    with tempfile.TemporaryDirectory(prefix="round-trips-") as place:
        folder = Path(place)
        files = {name: folder / f"{name}.statements" for name in ("web", "worker")}
        traced = {name: ("-m", "benchmarks.statements", str(file)) for name, file in files.items()}
        with (
            ProviderProcess(folder, 4, 10) as provider,
            Service(folder, provider.url, web=traced["web"], worker=traced["worker"]) as service,
            monitored(f"redis://127.0.0.1:{service.redis_port}/0") as monitor,
        ):
            lines = await _asked(Turns(Connections(service.port), service.visitors(1)[0], conversation))
            found = commands(service.processes, monitor.so_far())
            found += [done for name, file in files.items() for done in statements(name, file)]
    return lines, steps(lines, found)


async def _asked(turns: Turns) -> list[Timeline]:
    await one_by_one(turns, WARM_UP)
    lines = await one_by_one(turns, REQUESTS)
    turns.connections.close()
    if errors := {line.error for line in lines if line.error}:
        raise RuntimeError(errors)
    return lines


def milliseconds(lines: Sequence[Timeline]) -> dict[str, float]:
    """Medians."""
    spans = {
        "POST to its answer": [line.accepted - line.posted for line in lines],
        "POST to the provider's request": [line.asked - line.posted for line in lines],
        "provider's first text to the viewer": [line.seen - line.spoke for line in lines],
        "POST to the first text, without the provider's own time": [int(line.own_ms * 1e6) for line in lines],
    }
    return {name: round(median(values) / 1e6, 2) for name, values in spans.items()}


def table(title: str, spans: dict[str, float], found: Sequence[Step]) -> list[str]:
    """In Markdown."""
    lines = ["", f"**{title}**", "", "| phase | process | store | what | times | ms from the POST |"]
    lines.append("|---|---|---|---|---|---|")
    for each in found:
        cells = (each.phase, each.process, each.store, f"`{each.what}`", each.times, f"{each.after_ms:.1f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| phase | statements | Redis commands |", "|---|---|---|"]
    for name in PHASES:
        totals = [sum(each.times for each in found if (each.phase, each.store) == (name, store)) for store in STORES]
        lines.append(f"| {name} | {totals[0]} | {totals[1]} |")
    totals = [sum(each.times for each in found if each.store == store) for store in STORES]
    lines.append(f"| whole | {totals[0]} | {totals[1]} |")
    return [*lines, "", *(f"{name}: {value} ms" for name, value in spans.items())]


STORES = ("SQLite", "Redis")


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks round_trips", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--docs", action="store_true", help="also writes the figures into docs/performance.md")
    given = parser.parse_args(arguments)
    out: Path = given.out
    load = load_average()
    page: list[str] = ["", f"Load averages before it: {load}.", *warning(load)]
    figures: dict[str, object] = {}
    for title, conversation in (("A first message", None), ("A message that follows", "thread")):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            lines, found = runner.run(trace(conversation))
        spans = milliseconds(lines)
        page += table(title, spans, found)
        figures[title] = {"ms": spans, "steps": [asdict(each) for each in found]}
    out.mkdir(parents=True, exist_ok=True)
    (out / "round_trips.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (out / "round_trips.md").write_text("\n".join(page[1:]) + "\n")
    print("\n".join(page[1:]))
    if given.docs:
        insert("round_trips", page[1:])
    return 0
