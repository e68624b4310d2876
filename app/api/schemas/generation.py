"""The fields that chat and text completions share, with their bounds."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from app.api.schemas.base import StrictModel, documented, neutral
from app.engine.messages import SamplingParams
from app.services.options import GenerationOptions
from app.services.sampling_defaults import SamplingDefaults

MAX_STOP_BYTES = 256
_INT64 = 1 << 63
_TOKEN_ID = re.compile("0|[1-9][0-9]{0,8}")
"""One spelling for each id, so that no two keys of a JSON object mean the same token."""


def _stop_text(text: str) -> str:
    if not 0 < len(text.encode()) <= MAX_STOP_BYTES:
        raise PydanticCustomError("stop_length", "between 1 and 256 bytes")
    return text


def _token_ids(bias: dict[str, float]) -> dict[str, float]:
    if not all(_TOKEN_ID.fullmatch(key) for key in bias):
        raise PydanticCustomError("token_id", "keys are token ids")
    return bias


def _first(asked: float | None, model: float | None, otherwise: float) -> float:
    return next((value for value in (asked, model) if value is not None), otherwise)


StopText = Annotated[
    str,
    AfterValidator(_stop_text),
    documented(
        minLength=1,
        maxLength=MAX_STOP_BYTES,
        description=f"At most {MAX_STOP_BYTES} bytes of UTF-8.",
    ),
]
Bias = Annotated[float, Field(ge=-100, le=100)]
Count = Annotated[int, Field(ge=1, lt=_INT64)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]


class StreamOptions(StrictModel):
    """What else a stream brings.

    With `include_usage`, vLLM's `continuous_usage_stats` puts the usage so far, of all answers, on each chunk.
    """

    include_usage: bool | None = None
    include_obfuscation: Annotated[Any, neutral(False)] = None
    continuous_usage_stats: bool | None = None


class GenerationRequest(StrictModel):
    """How to generate; null is the same as leaving a field out."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Count | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4, fail_fast=True)] | None = None
    seed: Annotated[int, Field(ge=-_INT64, lt=_INT64)] | None = None
    logit_bias: (
        Annotated[
            dict[str, Bias],
            Field(max_length=256),
            AfterValidator(_token_ids),
            documented(propertyNames={"pattern": f"^({_TOKEN_ID.pattern})$"}),
        ]
        | None
    ) = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    # Extensions
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = None
    min_tokens: Annotated[int, Field(ge=0, lt=_INT64)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64, fail_fast=True)] | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    cache_salt: Annotated[str, Field(max_length=256)] | None = None

    @field_validator("stream_options")
    @classmethod
    def _only_with_a_stream(cls, options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if options is not None and not info.data.get("stream"):
            raise PydanticCustomError("stream_options", "only with stream")
        return options

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        """Whether each chunk has the usage so far; without `include_usage`, none has any."""
        return bool(self.stream_options and self.stream_options.continuous_usage_stats)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def sampling(self, logprobs: int | None, defaults: SamplingDefaults) -> SamplingParams:
        """The engine's parameters: what the client says, else the model, else OpenAI."""
        return SamplingParams(
            min_tokens=self.min_tokens or 0,
            temperature=float(_first(self.temperature, defaults.temperature, 1.0)),
            top_k=max(0, int(_first(self.top_k, defaults.top_k, 0))),
            top_p=float(_first(self.top_p, defaults.top_p, 1.0)),
            min_p=float(_first(self.min_p, defaults.min_p, 0.0)),
            repetition_penalty=float(_first(self.repetition_penalty, defaults.repetition_penalty, 1.0)),
            frequency_penalty=float(self.frequency_penalty or 0.0),
            presence_penalty=float(self.presence_penalty or 0.0),
            logprobs=logprobs,
            logit_bias={int(token): float(bias) for token, bias in (self.logit_bias or {}).items()},
            stop_token_ids=self.stop_token_ids or [],
            ignore_eos=bool(self.ignore_eos),
        )

    def options(
        self, logprobs: int | None, timeout: float | None, tenant: str, defaults: SamplingDefaults
    ) -> GenerationOptions:
        """Everything that the services need; cached prefixes are shared within a tenant and a salt only."""
        return GenerationOptions(
            sampling=self.sampling(logprobs, defaults),
            max_tokens=self.max_tokens,
            n=self.n or 1,
            stop=self.stops,
            seed=self.seed,
            timeout=timeout,
            priority=self.priority or 0,
            tenant=tenant,
            cache_salt=tenant if self.cache_salt is None else f"{tenant}\0{self.cache_salt}",
        )
