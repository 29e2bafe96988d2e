"""Places at which a process can be made to die, so that tests find out what a death there costs.

Inert unless a setting names one.
"""

import os
import signal
from typing import Literal, get_args

from models.errors import SettingInvalid
from models.settings import Settings, env_name

KillPoint = Literal[
    "after_commit", "after_enqueue", "before_claim", "after_claim", "after_first_delta", "before_finish", "after_finish"
]


def reach(point: KillPoint, settings: Settings, message: str | None = None) -> None:
    """Kills the process, as `kill -9` does, where the setting names this point.

    `after_claim=some text` does so only for a request with this message.
    """
    if settings.kill_point:
        name, _, text = settings.kill_point.partition("=")
        if name == point and (not text or text == message):
            os.kill(os.getpid(), signal.SIGKILL)


def check_kill_point(settings: Settings) -> None:
    """Raises SettingInvalid where the setting names no such place."""
    if settings.kill_point and settings.kill_point.partition("=")[0] not in get_args(KillPoint):
        raise SettingInvalid(f"{env_name('kill_point')} must be one of {', '.join(get_args(KillPoint))}")
