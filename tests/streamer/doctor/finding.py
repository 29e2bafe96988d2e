"""What a test asks a check."""

from collections.abc import Callable, Iterator

from models.settings import Settings
from streamer.doctor.check import Finding, Verdict

Look = Callable[[Settings], Iterator[Finding]]


def found(look: Look, settings: Settings) -> list[tuple[str, str]]:
    """Each finding's verdict and words."""
    return [(each.verdict.value, each.found) for each in look(settings)]


def only(look: Look, settings: Settings) -> Finding:
    """The one finding of a check; what is not well says what to change."""
    (finding,) = look(settings)
    assert bool(finding.change) == (finding.verdict is not Verdict.OK)
    return finding
