"""Whether the local model's packages are installed."""

from models.errors import SettingInvalid
from tasks.providers.local_weights import find_weights
from tests.missing import missing


def require_local_model() -> None:
    """Skips a test where they are not, with the line to type."""
    try:
        find_weights()
    except SettingInvalid:
        missing("no local model: scripts/install local")
