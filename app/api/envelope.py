"""Envelope: what every body and chunk of one generated answer repeats, and usage and timings at its end."""

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app import __version__
from app.engine.messages import Ready
from app.observation import Observation
from app.services.generation import Generation

encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Envelope:
    """Identity of one answer.

    Args:
        prefix: of the id, `chatcmpl` or `cmpl`.
        shape: OpenAI's `object`.
        model: the served name.
        fingerprint: changes when other tokens are to be expected.
    """

    prefix: str
    shape: str
    model: str
    fingerprint: str
    suffix: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def fields(self) -> dict[str, Any]:
        """The repeated fields."""
        return {
            "id": f"{self.prefix}-{self.suffix}",
            "object": self.shape,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def fingerprint(info: Ready | None) -> str:
    """Short hash of what decides about tokens beside the request."""
    parts = (__version__, *((info.model, info.dtype, info.quantization, info.device) if info else ()))
    return "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def usage(generation: Generation) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.completion_tokens,
        "total_tokens": generation.prompt_tokens + generation.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": generation.cached_tokens},
    }


def timings(observation: Observation) -> dict[str, float]:
    """The stages in milliseconds, up to now."""
    observation.total = observation.elapsed()
    return observation.timings()
