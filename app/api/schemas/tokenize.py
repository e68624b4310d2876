"""Bodies of `POST /tokenize` and `POST /detokenize`."""

from typing import Annotated

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from app.api.schemas.base import StrictModel, documented
from app.api.schemas.chat import Messages


class TokenizeRequest(StrictModel):
    """Either a text, or messages in the chat template."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("missing", "either prompt or messages")
        return self


class TokenizeResponse(BaseModel):
    """Token ids; `max_model_len` is null until the engine is ready."""

    tokens: list[int]
    count: int
    max_model_len: int | None


class DetokenizeRequest(StrictModel):
    """Token ids."""

    model: str | None = None
    tokens: Annotated[list[Annotated[int, documented(minimum=0)]], Field(fail_fast=True)]


class DetokenizeResponse(BaseModel):
    """Their text, control tokens spelled out."""

    prompt: str
