"""The machine notices each rule of the protocol that is taken out: else it would prove nothing."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.machine import STEPS, Ground, Protocol
from tests.stateful.mutations import MUTATIONS
from tests.stateful.traces import TRACES, Play

EXAMPLES = int(os.environ.get("STATEFUL_MUTATION_EXAMPLES", "0"))


def examples_until_found(ground: Ground, limit: int) -> int | None:
    """How many examples it takes to break a promise; None: `limit` are not enough."""
    tried = 0
    found = None

    class Counted(Protocol):
        def __init__(self) -> None:
            nonlocal tried
            tried += found is None
            super().__init__(ground)

        def _raise(self) -> None:
            nonlocal found
            if self.world.oracle.violations:
                found = found or tried
            super()._raise()

    profile = settings(
        max_examples=limit,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(Counted, settings=profile)
    except AssertionError as error:
        print(str(error)[:300])
    return found


def break_promises(name: str, ground: Ground) -> None:
    """Plays the trace of a rule to its end. Raises AssertionError where a promise breaks on the way or in the end."""
    state = Protocol(ground)
    try:
        TRACES[name](Play(state))
    finally:
        state.teardown()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_taken_out_breaks_a_promise_that_holds_with_it(
    name: str, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_promises(name, ground)
    MUTATIONS[name](monkeypatch)
    with pytest.raises(AssertionError):
        break_promises(name, ground)


@pytest.mark.skipif(EXAMPLES == 0, reason="takes minutes: STATEFUL_MUTATION_EXAMPLES=3000 tries each rule")
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_taken_out_is_noticed(name: str, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)
    found = examples_until_found(ground, EXAMPLES)
    print(f"{name}: {found}")
    assert found is not None
