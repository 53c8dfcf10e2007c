"""The base of every noun: a frozen pydantic model that refuses fields it does not know."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: immutable, compared by content, strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
