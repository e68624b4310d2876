"""What the rest of the API process may ask of an engine, and what an engine tells the metrics."""

from enum import StrEnum
from typing import Protocol

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

    def submit(
        self,
        prompt: list[int],
        *,
        task: Task = ...,
        sampling: SamplingParams = ...,
        labels: list[list[int]] = ...,
        timeout: float | None = None,
        priority: int = 0,
        cache_salt: str = "",
    ) -> RequestStream:
        """Hand one sequence to the engine, at once and without waiting.

        Raises:
            Overloaded, Starting, Draining, EngineRestarting: refused before anything was queued; the first also where
                the queue is longer than the timeout, by the pace of a service that has been busy for a while.
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
