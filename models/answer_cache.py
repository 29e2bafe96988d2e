"""Finished answers that serve the same request again. The rows themselves are the cache: what is erased serves nobody."""

from typing import Any

from peewee import JOIN, SQL

from models.conversation import Conversation
from models.database import now
from models.generation import Generation
from models.prepared import prepared, row_of

_HASHED = SQL("status = 'done' AND input_hash IS NOT NULL")
"""The condition of the partial index `generation_cache`, in its words."""


def find_answer(row: Generation, input_hash: str, seconds: float) -> Generation | None:
    """The newest whole answer to the same request of the row's tenant, no older than `seconds`; None where there is none.

    What was itself served from the cache serves nobody, so that no answer outlives its time.
    """
    asking: Any = row
    return row_of(Generation, _newest(tenant_id=asking.tenant_id, input_hash=input_hash, seconds=seconds))


@prepared
def _newest(tenant_id: Any, input_hash: Any, seconds: Any) -> Any:
    whole = (Generation.finish_reason == "stop") & Generation.tool_calls.is_null() & (Generation.text != "")
    return (
        Generation.select()
        .join(Conversation, JOIN.LEFT_OUTER)
        .where(
            (Generation.tenant == tenant_id)
            & (Generation.input_hash == input_hash)
            & (Generation.finished_at > now() - seconds)
            & _HASHED
            & whole
            & ~Generation.cached
            & Conversation.deleted_at.is_null()
        )
        .order_by(Generation.finished_at.desc())
        .limit(1)
    )
