"""What a visitor thinks of an answer."""

from collections.abc import Iterable
from enum import StrEnum

from peewee import DoubleField, ForeignKeyField, TextField

from models.database import Table, now
from models.generation import Generation


class Rating(StrEnum):
    """Whether the answer was of use."""

    UP = "up"
    DOWN = "down"


class Feedback(Table):
    """`rating`: up or down. One per answer; it goes with the answer."""

    generation = ForeignKeyField(Generation, primary_key=True, on_delete="CASCADE")
    rating = TextField()
    comment = TextField(default="")
    created_at = DoubleField()


def rate(generation_id: str, rating: Rating, comment: str) -> None:
    """Stores what is thought of the answer, in place of what was thought before."""
    values = {Feedback.rating: rating, Feedback.comment: comment, Feedback.created_at: now()}
    Feedback.insert({Feedback.generation: generation_id, **values}).on_conflict(
        conflict_target=[Feedback.generation], update=values
    ).execute()


def take_back(generation_id: str) -> None:
    """Forgets what was thought of the answer."""
    Feedback.delete().where(Feedback.generation == generation_id).execute()


def feedback_on(generation_ids: Iterable[str]) -> dict[str, Feedback]:
    """What was thought of these answers, by their ids, in one statement."""
    found = Feedback.select().where(Feedback.generation.in_(list(generation_ids)))
    return {row.__data__["generation"]: row for row in found}
