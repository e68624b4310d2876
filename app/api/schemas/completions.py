"""Bodies of `POST /v1/completions`."""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from app.api.schemas.base import check_neutral, documented, neutral
from app.api.schemas.generation import GenerationRequest, TokenId
from app.services.completions import MAX_PROMPTS

Ids = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]


class CompletionRequest(GenerationRequest):
    """A text completion request; `max_tokens` is 16 unless the client says otherwise."""

    prompt: (
        str
        | Ids
        # How many is the service's to refuse: here the message would be about types.
        | Annotated[list[str], Field(min_length=1, fail_fast=True), documented(maxItems=MAX_PROMPTS)]
        | Annotated[list[Ids], Field(min_length=1, fail_fast=True), documented(maxItems=MAX_PROMPTS)]
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Any = None
    echo: Annotated[Any, neutral(False)] = None
    suffix: Annotated[Any, neutral()] = None

    @field_validator("best_of", mode="before")
    @classmethod
    def _all_of_the_best(cls, best_of: Any, info: ValidationInfo) -> Any:
        return check_neutral(best_of, info.data.get("n") or 1)

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt, as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        ids = [token for token in self.prompt if isinstance(token, int)]
        return [ids] if ids else [prompt for prompt in self.prompt if not isinstance(prompt, int)]
