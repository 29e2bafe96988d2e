"""Another tenant of an installation, which the product has no command for yet."""

import asyncio
import subprocess
import sys

from tests.faults.installation import ROOT, Installation

PROGRAM = """
from models.api_key import create_key
from models.database import connect, read_now
from models.secret import load_secret
from models.settings import Settings
from models.tenant import Tenant
settings = Settings.from_environ()
connect(settings)
tenant = Tenant.create(public_id="ten_other", name="other", created_at=read_now())
print(create_key(tenant.get_id(), "other", ["session"], secret=load_secret(settings))[1])
"""


async def visitor_of_another_tenant(it: Installation, port: int, user: str = "u1") -> str:
    """The token of a visitor of its."""
    command = [sys.executable, "-c", PROGRAM]
    made = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=it.environment(), capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    _, session, _ = await it.call(port, "POST", "/ai/v1/session", {"user": user}, made.stdout.strip())
    return str(session["token"])
