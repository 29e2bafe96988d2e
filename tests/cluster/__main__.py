"""`make cluster`: the main promises, where the roles are apart, a line each; exits 1 if one falls short.

Two web and two worker processes share a Redis with a password and a Postgres (STORE=sqlite: a file). SEED= repeats a run.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.promises import PROMISES, Cluster, Promise
from tests.faults.durations import Durations
from tests.faults.installation import Installation


def main() -> int:
    """Returns the exit code: 0 where every promise holds."""
    argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__).parse_args()
    os.environ.setdefault("STORE", "postgres")
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"two web and two worker processes, {os.environ['STORE']}, a Redis with a password; seed {seed}\n")
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        return asyncio.run(_run(Path(folder), seed))


async def _run(folder: Path, seed: int) -> int:
    async with Installation(folder, Durations(real=True, strict=True)) as it:
        cluster = Cluster(it, seed)
        await cluster.start()
        held = [await _holds(promise, cluster) for promise in PROMISES]
    return 0 if all(held) else 1


async def _holds(promise: Promise, cluster: Cluster) -> bool:
    began, words = time.monotonic(), str(promise.__doc__)
    try:
        verdict, told = "holds      ", await promise(cluster)
    except Exception as error:
        verdict, told = "FALLS SHORT", f"{type(error).__name__}: {error}"
    print(f"{verdict}  {words.rstrip('.')} ({time.monotonic() - began:.1f} s): {told}", flush=True)
    return verdict.startswith("holds")


if __name__ == "__main__":
    sys.exit(main())
