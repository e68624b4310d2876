"""The uvicorn server of one replica: drains before it stops, and ends with an exit code that means something."""

import math
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.sse import ABORT
from app.engine.client import AsyncEngine
from app.settings import Settings


class Server(uvicorn.Server):
    """uvicorn, with the engine told to refuse new work as soon as a signal arrives."""

    def __init__(self, config: uvicorn.Config, engine: AsyncEngine) -> None:
        super().__init__(config)
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at once at the second.

        uvicorn would raise the signal again after a clean end; a drained replica exits with 0 instead.
        """
        self.force_exit = self.should_exit
        self.should_exit = True
        self._engine.drain()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol; an application may end the connection without waiting for its client to read."""

    def on_message_begin(self) -> None:
        """Offer the transport's `abort` to the application: `close` would wait for the written bytes to leave."""
        super().on_message_begin()
        self.scope.setdefault("extensions", {})[ABORT] = {"abort": self.transport.abort}


def uvicorn_config(app: object, settings: Settings) -> uvicorn.Config:
    """uvicorn's side of the settings; logging is ours."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Protocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
        ws="none",
    )
