"""What a visitor thinks of an answer."""

from peewee import DoubleField, ForeignKeyField, TextField

from models.database import Table
from models.generation import Generation


class Feedback(Table):
    """`rating`: up or down. One per answer; it goes with the answer."""

    generation = ForeignKeyField(Generation, primary_key=True, on_delete="CASCADE")
    rating = TextField()
    comment = TextField(default="")
    created_at = DoubleField()
