"""Bodies of `POST /v1/chat/completions`: every field of OpenAI's request, honoured or refused by name."""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from app.api.schemas.base import StrictModel, neutral
from app.api.schemas.generation import Count, GenerationRequest
from app.services.chat_template import Message, Role
from app.services.options import GenerationOptions
from app.services.sampling_defaults import SamplingDefaults

_UNSUPPORTED_ROLES = ("tool", "function")
_UNSUPPORTED_PARTS = ("image_url", "input_audio", "file", "refusal")


def _known_role(value: Any) -> Any:
    if value in _UNSUPPORTED_ROLES:
        raise PydanticCustomError("unsupported_parameter", "unsupported")
    return value


def _text_type(value: Any) -> Any:
    if value in _UNSUPPORTED_PARTS:
        raise PydanticCustomError("unsupported_parameter", "unsupported")
    return value


class TextPart(StrictModel):
    """A part of a message's text."""

    type: Annotated[Literal["text"], BeforeValidator(_text_type)]
    text: str
    prompt_cache_breakpoint: Annotated[Any, neutral()] = None


class ChatMessage(StrictModel):
    """One turn; parts of text are joined by line ends."""

    role: Annotated[Role, BeforeValidator(_known_role)]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=1024, fail_fast=True)]
    name: Annotated[Any, neutral()] = None
    refusal: Annotated[Any, neutral()] = None
    audio: Annotated[Any, neutral()] = None
    annotations: Annotated[Any, neutral([])] = None
    function_call: Annotated[Any, neutral()] = None
    tool_calls: Annotated[Any, neutral([])] = None
    tool_call_id: Annotated[Any, neutral()] = None

    def message(self) -> Message:
        """The turn as the services take it."""
        if isinstance(self.content, str):
            return Message(self.role, self.content)
        return Message(self.role, "\n".join(part.text for part in self.content))


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=4096, fail_fast=True)]
"""The server's own bound is a setting; this one and stopping at the first fault bound the work of refusing."""


class ChatRequest(GenerationRequest):
    """A chat completion request."""

    messages: Messages
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None
    # Known, and refused unless neutral
    audio: Annotated[Any, neutral()] = None
    function_call: Annotated[Any, neutral("none", "auto")] = None
    functions: Annotated[Any, neutral([])] = None
    modalities: Annotated[Any, neutral(["text"])] = None
    moderation: Annotated[Any, neutral()] = None
    parallel_tool_calls: Annotated[Any, neutral(True)] = None
    prediction: Annotated[Any, neutral()] = None
    prompt_cache_options: Annotated[Any, neutral()] = None
    prompt_cache_retention: Annotated[Any, neutral("in_memory")] = None
    reasoning_effort: Annotated[Any, neutral("none")] = None
    response_format: Annotated[Any, neutral({"type": "text"})] = None
    service_tier: Annotated[Any, neutral("auto", "default")] = None
    store: Annotated[Any, neutral(False)] = None
    tool_choice: Annotated[Any, neutral("none", "auto")] = None
    tools: Annotated[Any, neutral([])] = None
    verbosity: Annotated[Any, neutral("medium")] = None
    web_search_options: Annotated[Any, neutral()] = None

    @field_validator("top_logprobs")
    @classmethod
    def _only_with_logprobs(cls, top: int | None, info: ValidationInfo) -> int | None:
        if top is not None and not info.data.get("logprobs"):
            raise PydanticCustomError("top_logprobs", "only with logprobs")
        return top

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, limit: int | None, info: ValidationInfo) -> int | None:
        if limit is not None and info.data.get("max_tokens") not in (None, limit):
            raise PydanticCustomError("max_tokens", "two different limits")
        return limit

    def chat_options(
        self, default_max_tokens: int, timeout: float | None, tenant: str, defaults: SamplingDefaults
    ) -> GenerationOptions:
        """Everything that the chat service needs beside the messages."""
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        options = self.options(logprobs, timeout, tenant, defaults)
        options = msgspec.structs.replace(options, default_max_tokens=default_max_tokens)
        if self.max_completion_tokens is None:
            return options
        return msgspec.structs.replace(
            options, max_tokens=self.max_completion_tokens, max_tokens_param="max_completion_tokens"
        )
