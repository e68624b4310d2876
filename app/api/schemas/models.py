"""Bodies of `GET /v1/models`."""

from typing import Literal

from pydantic import BaseModel


class Model(BaseModel):
    """A served model; `max_model_len` is null until the engine is ready."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "repartee"
    max_model_len: int | None = None


class ModelList(BaseModel):
    """All served models."""

    object: Literal["list"] = "list"
    data: list[Model]
