"""Bodies of `POST /v1/completions`."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.api.schemas.base import neutral
from app.api.schemas.generation import GenerationRequest, TokenId
from app.services.completions import MAX_PROMPTS

Ids = Annotated[list[TokenId], Field(min_length=1)]


class CompletionRequest(GenerationRequest):
    """A text completion request; `max_tokens` is 16 unless the client says otherwise."""

    prompt: (
        str
        | Ids
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
        | Annotated[list[Ids], Field(min_length=1, max_length=MAX_PROMPTS)]
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Any = None
    echo: Annotated[Any, neutral(False)] = None
    suffix: Annotated[Any, neutral()] = None

    @model_validator(mode="after")
    def _all_of_the_best(self) -> "CompletionRequest":
        if self.best_of is not None and not (type(self.best_of) is int and self.best_of == (self.n or 1)):
            raise PydanticCustomError("unsupported_parameter", "unsupported")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt, as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [token for token in self.prompt if isinstance(token, int)]
        return [ids] if ids else [prompt for prompt in self.prompt if not isinstance(prompt, int)]
