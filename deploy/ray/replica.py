"""One replica: the service's own application, with an engine process and metrics of its own, on Ray Serve's server."""

import asyncio

from fastapi import FastAPI
from ray import serve

from app.api.routes.ops import readiness
from app.configuration import load_configuration
from app.engine.client import AsyncEngine
from app.engine.interface import EngineState
from app.logs import configure_logging
from app.main import create_app
from app.metrics import Metrics
from app.settings import Settings
from deploy.ray.controller import http_host
from deploy.ray.targets import add_targets

_POLL_SECONDS = 0.05


class NotReady(Exception):
    """The replica cannot serve now; Ray Serve sends it nothing, and replaces it if that lasts."""


class Service:
    """The application and its engine, as the settings want them."""

    def __init__(self, settings: Settings) -> None:
        metrics = Metrics(settings.served_name)
        metrics.set_queue_limit(settings.max_waiting)
        self._failure = ""
        self._engine = AsyncEngine(
            settings.engine_config(), metrics, max_waiting=settings.max_waiting, on_failed=self._on_failed
        )
        self.app = create_app(settings, self._engine, metrics)

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


@serve.ingress()
class Replica:
    """What Ray Serve makes in each replica's process. Its settings are the `REPARTEE_*` variables found there."""

    async def __init__(self) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        settings = load_configuration(host=await http_host())
        configure_logging(settings.log_level, settings.log_format)
        self._service = Service(settings)
        add_targets(self._service.app, serve.get_replica_context().app_name)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application; Ray Serve runs its lifespan, which starts and ends the engine."""
        return self._service.app

    async def check_health(self) -> None:
        """See `Service.check`; the first call is part of the replica's start."""
        await self._service.check()
