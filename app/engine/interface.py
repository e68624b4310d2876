"""What the rest of the API process may ask of an engine, and what an engine tells the metrics."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from app.engine.admission import Work
from app.engine.messages import FinishReason, Ready, SamplingParams, StepStats
from app.engine.stream import RequestStream
from app.observation import Task


class EngineState(StrEnum):
    """What the engine can do now."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"
    """Still takes work, but says that it will not for long."""
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"


class Engine(Protocol):
    """What services and routes may ask of an engine; tests pass a small fake."""

    @property
    def state(self) -> EngineState:
        """What the engine can do now."""

    @property
    def info(self) -> Ready | None:
        """What the engine found at start; None until it was ready for the first time."""

    @property
    def making_progress(self) -> bool:
        """False when there is work and no step has ended for a while."""

    def enter(self, task: Task, tenant: str) -> Callable[[], None]:
        """Keep a place for a request of which nothing else is known yet; returns what gives it back, once.

        Raises:
            Overloaded, Starting, Draining, EngineRestarting: as of `admit`.
        """

    def admit(self, work: Work) -> None:
        """Judge a request just before it is submitted; a place that was kept for it has been given back.

        Raises:
            Overloaded: it would be answered too late, or the queue is full.
            Starting, Draining, EngineRestarting: nothing is taken now.
        """

    def submit(
        self,
        prompt: list[int],
        *,
        task: Task = ...,
        sampling: SamplingParams = ...,
        labels: list[list[int]] = ...,
        timeout: float | None = None,
        priority: int = 0,
        tenant: str = "",
        cache_salt: str = "",
    ) -> RequestStream:
        """Hand one sequence of a request that was admitted to the engine, at once and without waiting.

        Raises:
            Starting, Draining, EngineRestarting, SequenceFailed: refused before anything was queued; the last where
                the same prompt ended several processes lately.
        """


class EngineObserver(Protocol):
    """What the output loop tells the metrics."""

    def loading(self, phase: str, seconds: float) -> None: ...
    def ready(self, info: Ready) -> None: ...
    def set_ready(self, ready: bool) -> None: ...
    def set_draining(self, draining: bool) -> None: ...
    def step(self, stats: StepStats) -> None: ...
    def inter_token(self, seconds: float, tokens: int) -> None: ...
    def sequence_finished(self, task: Task, reason: FinishReason) -> None: ...
    def engine_restarted(self) -> None: ...
    def engine_process(self, pid: int | None) -> None: ...
