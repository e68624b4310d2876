"""AsyncEngine: the API process's handle on the engine process (start, submit, abort, readiness, restart)."""

from enum import StrEnum
from typing import Protocol

from app.engine.messages import Ready, SamplingParams
from app.engine.stream import RequestStream


class EngineState(StrEnum):
    """What the engine can do now."""

    STARTING = "starting"
    READY = "ready"
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
        sampling: SamplingParams = ...,
        labels: list[list[int]] = ...,
        timeout: float | None = None,
        priority: int = 0,
        cache_salt: str = "",
    ) -> RequestStream:
        """Hand one sequence to the engine, at once and without waiting.

        Raises:
            Overloaded, Starting, Draining, EngineRestarting: refused before anything was queued.
        """
