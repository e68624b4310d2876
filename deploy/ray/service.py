"""The service's own application with an engine process and metrics of its own; nothing here knows Ray."""

import asyncio
from contextlib import ExitStack

from app.api.routes.ops import readiness
from app.engine.client import AsyncEngine
from app.engine.interface import EngineState
from app.main import create_app
from app.metrics import Metrics
from app.serve import tracing_of
from app.settings import Settings
from app.slos import answer_within

_POLL_SECONDS = 0.05


class NotReady(Exception):
    """The replica cannot serve now; Ray Serve sends it nothing, and replaces it if that lasts."""


class Service:
    """The application and its engine, as the settings want them."""

    def __init__(self, settings: Settings) -> None:
        """Make them, and start nothing; raises one of `app.serve.UNUSABLE`."""
        metrics = Metrics.of(settings)
        self._failure = ""
        self._engine = AsyncEngine(
            settings.engine_config(),
            metrics,
            max_waiting=settings.max_waiting,
            objectives=answer_within(metrics.slos),
            on_failed=self._on_failed,
        )
        self._stack = ExitStack()
        spans = tracing_of(settings, self._stack)
        self.app = create_app(settings, self._engine, metrics, spans=spans)

    def _on_failed(self, reason: str) -> None:
        self._failure = reason

    async def check(self) -> None:
        """Return if the service is ready. Until it was so for the first time, wait.

        Raises:
            NotReady: it is not, or never will be.
        """
        while self._engine.info is None and self._engine.state is EngineState.STARTING:
            await asyncio.sleep(_POLL_SECONDS)
        status = readiness(self._engine)
        if status != "ready":
            raise NotReady(self._failure or status)

    def close(self) -> None:
        """Send the traces that are left; the engine ends with the application's lifespan."""
        self._stack.close()
