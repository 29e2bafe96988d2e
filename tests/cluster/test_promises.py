"""What is promised holds where the roles are apart, too."""

from pathlib import Path

import pytest

from tests.cluster.promises import PROMISES, Cluster
from tests.faults.durations import Durations
from tests.faults.installation import Installation


async def test_every_promise_holds_with_two_web_and_two_worker_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE", "postgres")
    async with Installation(tmp_path, Durations()) as it:
        cluster = Cluster(it, seed=7)
        await cluster.start()
        for promise in PROMISES:
            await promise(cluster)
