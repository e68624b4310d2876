"""An engine that only scores labels, each by its own tokens alone, and answers at once."""

from collections.abc import Callable

from app.engine.admission import Work
from app.engine.interface import EngineState
from app.engine.messages import (
    FinishReason,
    Ready,
    SamplingParams,
    SequenceOutput,
    SequenceTimings,
)
from app.engine.stream import RequestStream
from app.errors import Overloaded
from app.observation import Task

READY = Ready(
    model="toy",
    device="cpu",
    dtype="float32",
    quantization="none",
    cache_dtype="float32",
    kernels="torch",
    reasons=[],
    max_model_len=512,
    vocab_size=400,
    eos_token_ids=[2, 0],
    block_size=16,
    num_blocks=64,
    parameters=1000,
    memory_bytes=4000,
    torch="2.13.0",
)


def score(label: list[int]) -> float:
    """A log-probability that depends on nothing but the label's tokens."""
    return -3.0 - sum((place + 1) * token for place, token in enumerate(label)) % 97 / 25


class ScoringEngine:
    """Stands in for the engine.

    Args:
        room: sequences that it admits before it says `Overloaded`.
        hold: never answer.
        scores: answer this instead.
    """

    def __init__(self, *, room: int = 1000, hold: bool = False, scores: list[float] | None = None) -> None:
        self.state = EngineState.READY
        self.info: Ready | None = READY
        self.making_progress = True
        self.prompts: list[list[int]] = []
        self.labels: list[list[list[int]]] = []
        self.salts: list[str] = []
        self.timeouts: list[float | None] = []
        self.aborted: list[int] = []
        self._room, self._hold, self._scores = room, hold, scores

    def enter(self, task: Task, tenant: str) -> Callable[[], None]:
        return lambda: None

    def admit(self, work: Work) -> None:
        if len(self.prompts) + work.sequences > self._room:
            raise Overloaded(1.0)

    def submit(
        self,
        prompt: list[int],
        *,
        task: Task = "chat",
        sampling: SamplingParams = SamplingParams(),  # noqa: B008
        labels: list[list[int]] = [],  # noqa: B006
        timeout: float | None = None,
        priority: int = 0,
        tenant: str = "",
        cache_salt: str = "",
    ) -> RequestStream:
        self.prompts.append(prompt)
        self.labels.append(labels)
        self.salts.append(cache_salt)
        self.timeouts.append(timeout)
        stream = RequestStream(len(self.prompts), lambda request_id, reason: self.aborted.append(request_id))
        if not self._hold:
            stream.feed(
                SequenceOutput(
                    id=stream.id,
                    label_scores=self._scores or [score(label) for label in labels],
                    cached_tokens=3,
                    finish_reason=FinishReason.STOP,
                    timings=SequenceTimings(0.001, 0.002, 0.0),
                )
            )
        return stream
