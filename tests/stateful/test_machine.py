"""The protocol's promises under interleavings and faults that nobody thought of."""

import os
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import DirectoryBasedExampleDatabase, MultiplexedDatabase, ReadOnlyDatabase
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.machine import STEPS, Ground, Protocol

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "80"))

#: Examples that once failed: they are tried first, and stay. New ones are found in `.hypothesis`, to be moved here.
KEPT = MultiplexedDatabase(
    ReadOnlyDatabase(DirectoryBasedExampleDatabase(Path(__file__).parent / "examples")),
    DirectoryBasedExampleDatabase(Path(".hypothesis") / "stateful"),
)


def test_every_promise_holds_in_every_interleaving(ground: Ground) -> None:
    run_state_machine_as_test(
        lambda: Protocol(ground),  # type: ignore[arg-type]
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=KEPT,
            print_blob=True,
            phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
