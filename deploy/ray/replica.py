"""One replica: the service's own application on Ray Serve's server."""

from fastapi import FastAPI
from ray import serve

from app.configuration import load_configuration
from app.logs import configure_logging
from deploy.ray.controller import http_host
from deploy.ray.service import Service
from deploy.ray.targets import add_targets


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

    def __del__(self) -> None:
        """Called by Ray Serve at the replica's end, after the lifespan."""
        if hasattr(self, "_service"):
            self._service.close()

    async def check_health(self) -> None:
        """See `Service.check`; the first call is part of the replica's start."""
        await self._service.check()
