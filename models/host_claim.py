"""Which machine uses a SQLite file: a second one would see neither the first one's locks nor its clock.

A boot of the system tells machines apart, not a name: containers of one machine may share a file, and have names of their own.
"""

import socket

from peewee import DoubleField, TextField, fn

from models.clock import boot_id
from models.database import Table, database, now
from models.errors import SettingInvalid
from models.postgres import Postgres

#: Seconds for which a machine that has said nothing more still counts as there.
FRESH_SECONDS = 15.0

#: Seconds after which it is forgotten.
FORGET_SECONDS = 86_400.0


class HostClaim(Table):
    """SQLite only: a row a boot of a machine, renewed while a process of it sweeps."""

    boot_id = TextField(primary_key=True)
    host = TextField()
    seen_at = DoubleField()


def check_host() -> None:
    """Claims the SQLite file for this machine. Raises SettingInvalid where another one uses it.

    A machine that has booted again is the same by its name. Clocks of two machines that are further apart than FRESH_SECONDS hide
    one from the other.
    """
    if isinstance(database.obj, Postgres):
        return
    with database.connection_context(), database.atomic():
        other = HostClaim.get_or_none(
            (HostClaim.boot_id != boot_id())
            & (HostClaim.host != socket.gethostname())
            & (fn.ABS(now() - HostClaim.seen_at) < FRESH_SECONDS)
        )
        if other is not None:
            raise SettingInvalid(
                f"the machine {other.host} uses this SQLite database: for several machines set DATABASE_URL to a Postgres"
            )
        HostClaim.delete().where(HostClaim.seen_at < now() - FORGET_SECONDS).execute()
        claim_host()


def claim_host() -> None:
    """Says that this machine uses the SQLite file still."""
    if isinstance(database.obj, Postgres):
        return
    seen = {HostClaim.host: socket.gethostname(), HostClaim.seen_at: now()}
    HostClaim.insert({HostClaim.boot_id: boot_id(), **seen}).on_conflict(
        conflict_target=[HostClaim.boot_id], update=seen
    ).execute()
