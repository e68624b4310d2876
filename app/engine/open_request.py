"""OpenRequest: one request that the engine has not ended, with all that another process needs to go on with it."""

import asyncio
import math
import time
from dataclasses import dataclass, field

import msgspec

from app.engine.messages import AddRequest, FinishReason, SequenceOutput
from app.engine.stream import RequestStream
from app.observation import Task


@dataclass(slots=True, eq=False)
class OpenRequest:
    """A request between `submit` and its end.

    Attributes:
        added: what the engine was first told of it.
        tokens: the ids that its reader has got.
        submitted_at, last_tokens_at: instants on the monotonic clock.
        sent: whether the process that runs now knows it.
        deaths: processes that ended while they had it.
        left: why its reader did, if it did.
    """

    added: AddRequest
    stream: RequestStream
    task: Task
    expiry: asyncio.TimerHandle | None = None
    tokens: list[int] = field(default_factory=list)
    submitted_at: float = field(default_factory=time.monotonic)
    last_tokens_at: float | None = None
    sent: bool = True
    deaths: int = 0
    left: FinishReason | None = None

    @property
    def order(self) -> tuple[int, float]:
        """What the engine sorts a tenant's queue by: priority, then the instant at which it is due, if ever."""
        within = (self.added.timeout, self.added.due)
        soonest = min((seconds for seconds in within if seconds is not None), default=math.inf)
        return self.added.priority, self.submitted_at + soonest

    def again(self) -> AddRequest:
        """What a new process is told: go on behind the tokens that the reader has, until the same deadline."""
        gone = time.monotonic() - self.submitted_at
        timeout, due = self.added.timeout, self.added.due
        return msgspec.structs.replace(
            self.added,
            said=self.tokens,
            timeout=None if timeout is None else max(0.0, timeout - gone),
            due=None if due is None else due - gone,
        )

    def take(self, output: SequenceOutput) -> SequenceOutput:
        """Note an output of the engine, and return what the reader gets of it.

        A second process knows only its own stages: those of the first token were told by the first one.
        """
        resumed = self.deaths and self.tokens
        self.tokens += output.tokens
        return msgspec.structs.replace(output, timings=None) if resumed else output
