"""How long our own part takes from a POST to the first text in the viewer: the provider's own time is taken off each request.

Real processes: `streamer serve`, `streamer worker`, a private Redis, SQLite, an imitation of OpenAI. Beside it in the same run the
same worker with Dramatiq's own consumer, LiteLLM's proxy, and the provider asked directly: what the measuring itself takes.
Writes first_token.json, .md and .svg.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import litellm_proxy
from benchmarks.client import Calm, Connections, Subject, Timeline, at_a_rate, one_by_one, together
from benchmarks.figures import Figures, claims_ms, figures, load_average, machine
from benchmarks.process import Process
from benchmarks.provider_process import ProviderProcess
from benchmarks.report import write
from benchmarks.service import STREAMER, Service
from benchmarks.subjects import Completions, Servers, Visitors

#: Requests before anything is measured: connections are made, code and caches are warm.
WARM_UP, WARM_UP_TOGETHER = 10, 50

#: One visitor may ask 30 times in 5 minutes.
VISITORS = 100

SUBJECTS = ("provider", "streamer", "server", "stock", "litellm")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked of each subject."""

    singles: int
    burst: int
    bursts: int
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A subject that is ready, the processes that work for it, and its database where it has one of ours."""

    name: str
    subject: Subject
    connections: Connections
    processes: Sequence[Process]
    database: Path | None = None


@contextmanager
def stage(name: str, folder: Path, provider: ProviderProcess) -> Iterator[Stage]:
    """Starts what the subject of that name needs, and ends it."""
    if name == "provider":
        connections = Connections(provider.port)
        yield Stage(name, Completions(connections, "sk-of-nobody"), connections, [provider])
    elif name == "litellm":
        process, port = litellm_proxy.start(folder, provider.url)
        connections = Connections(port)
        try:
            yield Stage(name, Completions(connections, litellm_proxy.KEY), connections, [process, provider])
        finally:
            process.stop()
    else:
        worker = ("-m", "benchmarks.stock_worker") if name == "stock" else STREAMER
        # The API key's own limit, 600 requests in a minute, is below the rate that is asked for.
        with Service(folder, provider.url, worker=worker, more={"STREAMER_MAX_KEY_REQUESTS": "1000000"}) as service:
            connections = Connections(service.port)
            subject: Subject = (
                Servers(connections, service.api_key)
                if name == "server"
                else Visitors(connections, service.visitors(VISITORS))
            )
            yield Stage(name, subject, connections, [*service.processes, provider], service.database)


async def measure(run: int, plan: Plan, at: Stage) -> list[Figures]:
    """Every scene with one subject."""

    async def bursts() -> list[Timeline]:
        found: list[Timeline] = []
        for _ in range(plan.bursts):
            await at.connections.open(plan.burst)
            found += await together(at.subject, plan.burst)
            await asyncio.sleep(0.5)
        return found

    cold = await scene(run, at, "cold", lambda: one_by_one(at.subject, 1))
    await one_by_one(at.subject, WARM_UP)
    await together(at.subject, WARM_UP_TOGETHER)
    await asyncio.sleep(1)
    found = [
        cold,
        await scene(run, at, "one", lambda: one_by_one(at.subject, plan.singles)),
        await scene(run, at, "together", bursts),
        await scene(run, at, "rate", lambda: at_a_rate(at.subject, plan.rate, plan.seconds)),
    ]
    at.connections.close()
    await asyncio.sleep(0)
    return found


async def scene(run: int, at: Stage, name: str, play: Callable[[], Awaitable[list[Timeline]]]) -> Figures:
    """One scene, with the processor time that it took."""
    with Calm():
        before, began, own = [each.cpu_seconds() for each in at.processes], time.monotonic(), time.process_time()
        lines = await play()
        seconds = time.monotonic() - began
        cpu = {"load": (time.process_time() - own) / seconds}
    for process, earlier in zip(at.processes, before, strict=True):
        cpu[process.name] = (process.cpu_seconds() - earlier) / seconds
    found = figures(run, at.name, name, lines, cpu, claims_ms(at.database, lines) if at.database else ())
    own_ms = found.own_ms
    print(
        f"  {at.name:<9} {name:<9} own part p50 {own_ms.p50:8.1f}  p95 {own_ms.p95:8.1f}  p99 {own_ms.p99:8.1f} ms  "
        f"{own_ms.requests} requests, {found.failed} failed",
        *found.errors,
        flush=True,
    )
    return found


async def run_once(run: int, plan: Plan, names: Sequence[str], tokens: int, token_ms: float) -> list[Figures]:
    """All subjects, one after the other."""
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="first-token-") as folder:
        for name in names:
            place = Path(tempfile.mkdtemp(dir=folder))
            with ProviderProcess(place, tokens, token_ms) as provider, stage(name, place, provider) as at:
                found += await measure(run, plan, at)
    return found


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 where no request to the service failed."""
    given = _parser().parse_args(arguments)
    names = [name for name in SUBJECTS if name in given.subjects.split(",")]
    if "litellm" in names and not litellm_proxy.is_installed():
        print(litellm_proxy.MISSING)
        names.remove("litellm")
    plan = Plan(given.singles, given.burst, given.bursts, given.rate, given.seconds)
    about = {**machine(), "litellm": litellm_proxy.version()}
    found: list[Figures] = []
    loads = []
    for run in range(1, given.runs + 1):
        loads.append(load_average())
        print(f"run {run}, load averages {loads[-1]}")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found += runner.run(run_once(run, plan, names, given.tokens, given.token_ms))
    asked = {"tokens": given.tokens, "token_ms": given.token_ms, **{key: getattr(plan, key) for key in plan.__slots__}}
    write(given.out, about, loads, asked, found, docs=given.docs)
    print(f"figures in {given.out}/first_token.json, .md and .svg")
    return 1 if any(each.failed for each in found if each.subject != "litellm") else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks first_token", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--subjects", default="provider,streamer,stock,litellm", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--singles", type=int, default=25, help="requests one after the other")
    parser.add_argument("--burst", type=int, default=100, help="requests that begin together")
    parser.add_argument("--bursts", type=int, default=2)
    parser.add_argument("--rate", type=float, default=50, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10, help="for how long")
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--token-ms", type=float, default=10, help="between two tokens")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--docs", action="store_true", help="also writes the figures into docs/performance.md")
    return parser
