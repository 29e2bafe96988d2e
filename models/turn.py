"""The turns of a conversation. Each names its parent, so that editing and asking again make branches.

A turn is a generation: one question and its answer.
"""

from typing import NamedTuple

from models.conversation import Conversation
from models.conversation_list import Place
from models.database import execute
from models.generation import Generation, Status

#: Turns on the way back from a new one that are looked at, at most.
MAX_TURNS = 200

# Failed turns are walked over, and so are those that were answered with nothing.
_WAY_BACK = """
WITH RECURSIVE way(id, parent, status, size, depth) AS (
    SELECT id, parent, status, CASE status WHEN 'error' THEN 0 ELSE length(message) + length(text) END, 1
    FROM generation WHERE id = ? AND conversation_id = ?
    UNION ALL
    SELECT turn.id, turn.parent, turn.status,
        way.size + CASE turn.status WHEN 'error' THEN 0 ELSE length(turn.message) + length(turn.text) END, way.depth + 1
    FROM way JOIN generation AS turn ON turn.id = way.parent
    WHERE turn.conversation_id = ? AND way.depth < ?
)
SELECT way.status, way.size <= ?, CASE WHEN way.size <= ? THEN turn.message END, CASE WHEN way.size <= ? THEN turn.text END
FROM way JOIN generation AS turn ON turn.id = way.id
WHERE way.status <> 'error' AND NOT (way.status = 'done' AND turn.text = '')
ORDER BY way.depth
"""


class Turn(NamedTuple):
    """A question and what was answered. `loaded`: whether its texts are here; without them it is known only to be there."""

    status: Status
    loaded: bool
    question: str
    answer: str


def turns_before(row: Generation, max_characters: int) -> list[Turn]:
    """What can be told of the way back from `row`, newest first, in one statement.

    Failed turns are left out, with their questions. Texts are loaded up to `max_characters` in all: those beyond stay where
    they are.
    """
    conversation_id = row.__data__["conversation"]
    if row.parent is None or conversation_id is None:
        return []
    limits = (max_characters,) * 3
    found = execute(_WAY_BACK, row.parent, conversation_id, conversation_id, MAX_TURNS, *limits).fetchall()
    return [
        Turn(Status(status), bool(loaded), question or "", answer or "") for status, loaded, question, answer in found
    ]


def page_of_turns(conversation: Conversation, limit: int, before: Place | None) -> list[Generation]:
    """Up to `limit` turns of all branches, newest first, that are older than the place `before`."""
    query = Generation.select().where(Generation.conversation == conversation)
    if before is not None:
        query = query.where(
            (Generation.created_at < before.time)
            | ((Generation.created_at == before.time) & (Generation.id < before.name))
        )
    return list(query.order_by(Generation.created_at.desc(), Generation.id.desc()).limit(limit))


def place_of_turn(row: Generation) -> Place:
    """Where the turn stands among all turns of its conversation."""
    return Place(row.created_at, row.id)
