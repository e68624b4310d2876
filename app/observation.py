"""What one HTTP request was and how long its stages took: filled on its way, recorded once at its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Task = Literal["chat", "completion", "decision"]
Outcome = Literal["ok", "error", "cancelled", "timeout", "rejected"]
DecisionType = Literal["predicate", "choice", "score", "label"]


@dataclass(frozen=True, slots=True)
class Decision:
    """How one question was answered.

    Attributes:
        label_mass, confidence: 0 to 1, as the answer says them.
        position: place of the likeliest option in the request's own list, from 1; None where it gave none.
    """

    type: DecisionType
    label_mass: float
    confidence: float
    position: int | None = None


@dataclass(slots=True)
class Observation:
    """One HTTP request; all durations are seconds on this process's monotonic clock.

    The middleware creates it (in `scope["state"]["observation"]`), services fill it, the middleware hands it to
    `Metrics.observe_request` after the last byte. Requests with several sequences (n > 1, several questions) report
    the slowest queue, prefill and decode.
    """

    request_id: str
    place: Callable[[], None] = field(default=lambda: None, repr=False)
    """Gives back the place in the queue that was kept since before the body was read; again does nothing."""
    trace_id: str | None = None
    """Of the trace that this request is recorded in, 32 hexadecimal digits; None where it is in none."""
    arrived: float = field(default_factory=time.perf_counter)
    task: Task | None = None
    stream: bool = False
    outcome: Outcome = "ok"
    error_code: str | None = None
    parse: float | None = None
    """Arrival to a body that is whole, parsed and valid."""
    tokenize: float | None = None
    queue: float | None = None
    prefill: float | None = None
    first_token: float | None = None
    """Arrival to first token (TTFT), queueing included."""
    decode: float | None = None
    token_gap: float | None = None
    """Mean gap between the tokens of its slowest sequence (time per output token)."""
    longest_gap: float = 0.0
    """Longest silence after a first token: between tokens of one sequence, or before its end."""
    detokenize: float | None = None
    write: float | None = None
    """Time spent in handing the response to the connection, which waits for a client that reads slowly."""
    total: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    finish_reason: str | None = None
    decisions: list[Decision] = field(default_factory=list)
    client_deadline: float | None = None
    """Arrival to the deadline that the client set; None where the server's own holds."""
    deadline_exceeded: bool = False
    """The answer was cut at the request's deadline."""
    policy: list[str] = field(default_factory=list)
    """Rules of the policy that acted on it before it ended, as `rule:at:action`."""
    tenant: str | None = None
    key_id: str | None = None

    def elapsed(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self.arrived

    def timings(self) -> dict[str, float | bool]:
        """The stages known so far in milliseconds, as `timings` in a body and (with other names) `Server-Timing`.

        `deadline_exceeded` stands among them where the deadline cut the answer: its `finish_reason` is `length` then.
        """
        stages = {
            "tokenize_ms": self.tokenize,
            "queue_ms": self.queue,
            "prefill_ms": self.prefill,
            "ttft_ms": self.first_token,
            "decode_ms": self.decode,
            "total_ms": self.total,
        }
        known: dict[str, float | bool] = {
            name: round(seconds * 1000, 3) for name, seconds in stages.items() if seconds is not None
        }
        return known | ({"deadline_exceeded": True} if self.deadline_exceeded else {})
