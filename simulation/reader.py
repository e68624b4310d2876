"""Reader: who asked a request, and judges each of its outputs by the reference answer."""

import math
from dataclasses import dataclass, field

import msgspec

from app.engine.core.block_manager import require
from app.engine.messages import AddRequest, FinishReason, SequenceOutput
from simulation.reference import Answer

_SCORE_TOLERANCE = 1e-3
"""Scores are sums of float32 log-probabilities; the reference's are of float64."""


@dataclass(eq=False)
class Reader:
    """One request from its submission to its end.

    Attributes:
        submitted: instant on the virtual clock, as is `deadline`.
        said: tokens that came so far.
        left: whether the reader aborted.
        reason: why it ended, once it has.
        overtaken: younger requests of its lane that were answered since it heard of its own.
    """

    request: AddRequest
    answer: Answer
    submitted: float
    said: list[int] = field(default_factory=list)
    left: bool = False
    reason: FinishReason | None = None
    overtaken: int = 0

    @property
    def deadline(self) -> float:
        """Instant; infinite without one."""
        timeout = self.request.timeout
        return math.inf if timeout is None else self.submitted + timeout

    def again(self, now: float) -> AddRequest:
        """What a new engine is told."""
        left = None if self.request.timeout is None else max(0.0, self.deadline - now)
        return msgspec.structs.replace(self.request, said=self.said, timeout=left)

    def take(self, output: SequenceOutput, now: float) -> None:
        """Take the next output.

        Raises:
            AssertionError: it is not what the reference says may come.
        """
        self._require(self.reason is None, "was answered after its end")
        before = len(self.said)
        self.said = self.said + output.tokens
        known = self.answer
        self._require(
            self.said == known.tokens[: len(self.said)], f"said {self.said} instead of {known.tokens}"
        )
        if self.request.sampling.logprobs is not None:
            expected = known.logprobs[before : len(self.said)]
            self._require(output.logprobs == expected, "has other log-probabilities")
        self._require(output.cached_tokens < max(1, len(self.request.prompt)), "was cached beyond its prompt")
        self.overtaken = 0
        if output.finish_reason is not None:
            self._end(output, output.finish_reason, now)

    def _end(self, output: SequenceOutput, reason: FinishReason, now: float) -> None:
        self.reason = reason
        match reason:
            case FinishReason.STOP | FinishReason.LENGTH:
                self._require(
                    reason is self.answer.reason, f"ended with {reason} instead of {self.answer.reason}"
                )
                self._require(self.said == self.answer.tokens, "ended too early")
                self._require(output.stop_token == self.answer.stop_token, "stopped at another token")
                self._require(len(output.label_scores) == len(self.answer.scores), "has too few scores")
                for score, expected in zip(output.label_scores, self.answer.scores, strict=True):
                    self._require(abs(score - expected) < _SCORE_TOLERANCE, f"scored {score}, not {expected}")
            case FinishReason.ABORTED:
                self._require(self.left, "was aborted by nobody")
            case FinishReason.EXPIRED | FinishReason.DEADLINE:
                self._require(self.deadline <= now, "ended before its deadline")
                self._require(
                    (reason is FinishReason.DEADLINE) == bool(self.said), f"{reason} with {self.said}"
                )
            case FinishReason.FAILED:
                pass  # who may fail is the session's to judge

    def _require(self, holds: bool, otherwise: str) -> None:
        require(holds, f"request {self.request.id} {otherwise}")
