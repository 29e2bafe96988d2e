"""A supervisor for its tests. Usage: DESCRIPTOR JSON; a list of parts' fields and `behaviour`, and constants to change."""

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from models.errors import SettingInvalid
from streamer import part as part_module
from streamer import supervisor as supervisor_module
from streamer.part import Part
from streamer.supervisor import Supervisor

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who runs tests under nohup ignores it, and so would we
descriptor, given = int(sys.argv[1]), json.loads(sys.argv[2])
tiny = str(Path(__file__).with_name("tiny_part.py"))
logging.basicConfig(format="%(message)s")


def tell(what: str) -> None:
    os.write(descriptor, f"supervisor {what}\n".encode())


def made(name: str, behaviour: str = "", ready: bool = True, **fields: Any) -> Part:
    command = (
        [behaviour] if behaviour.startswith("/") else [sys.executable, "-IS", tiny, name, str(descriptor), behaviour]
    )
    death = signal.Signals(int(fields.pop("death_signal", signal.SIGKILL)))
    return Part(name=name, command=command, open_files=(descriptor,), ready=lambda: ready, death_signal=death, **fields)


for name, value in given["constants"].items():
    setattr(part_module if hasattr(part_module, name) else supervisor_module, name, value)
tell("begins")
try:
    with Supervisor() as supervisor:
        for each in given["parts"]:
            supervisor.start(made(**each), given["ready_seconds"])
        tell("ready")
        supervisor.run()
    tell("stopped")
except SettingInvalid as error:
    tell(f"refused: {error}")
