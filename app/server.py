"""The uvicorn server of one replica: drains before it stops, and ends with an exit code that means something."""

import asyncio
import errno
import logging
import math
import os
import select
import signal
import socket
import time
from functools import partial
from types import FrameType

import uvicorn
import uvloop

from app.descriptors import most_connections
from app.engine.client import AsyncEngine
from app.http_protocol import StrictProtocol
from app.metrics import Metrics
from app.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

new_event_loop = uvloop.new_event_loop
"""The loop that the service runs on. uvicorn is asked to serve on a loop that runs already, so it does not choose."""
_LAST_BYTES_SECONDS = 0.3
"""What readers of error events have left after a drain that took all its time; uvicorn takes fractions, too."""
_LAST_ACCEPTS = 1000
"""Closing a port resets the connections that wait to be accepted; a flood of them must not keep the process."""
_CLOSE = (b"connection", b"close")
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a machine without IPv6 says to one of the two addresses of `localhost`."""


class CannotListen(Exception):
    """The address cannot be listened on; the message is for the operator."""


def open_listeners(settings: Settings) -> list[socket.socket]:
    """Listening sockets, one for each address of the host; port 0 takes one free port for all of them.

    They are opened before anything slow, so that a port in use is told at once. Connections that come before the
    server does wait in the kernel's queue.

    Raises:
        CannotListen: with the settings to look at.
    """
    listeners: list[socket.socket] = []
    refusal: OSError | None = None
    try:
        found = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, (host, port, *_) in dict.fromkeys(found):
            free = listeners[0].getsockname()[1] if listeners and port == 0 else port
            try:
                listeners.append(socket.create_server((str(host), int(free)), family=family))
            except OSError as error:
                refusal = error
                if error.errno not in _NOT_HERE:
                    raise
        if refusal and not listeners:
            raise refusal
    except UnicodeError as error:  # an empty label, as in `a..b`, or one that is too long
        raise CannotListen(f"{PREFIX}HOST ({settings.host}) is no name of a host: {error}.") from error
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise CannotListen(_sentence(settings, error)) from error
    return listeners


def _sentence(settings: Settings, error: OSError) -> str:
    host, port = f"{PREFIX}HOST ({settings.host})", f"{PREFIX}PORT ({settings.port})"
    if error.errno == errno.EADDRINUSE:
        return f"{port} is in use on {host}: end what listens there, or set another port."
    return f"Nothing can listen on {host} and {port}: {error.strerror}."


class Server(uvicorn.Server):
    """uvicorn with a drain of ours in front of its own: the listener stays until the last stream has ended.

    uvicorn closes it at the signal, so that load balancers learn of the end by refused connections. Here, after
    SIGTERM, `/readyz` says 503 while new work is still taken (the delay), then new work gets a 503 while open streams
    go on (the drain), and only then is the port closed. Streams that are not finished by then end with an error event.

    A request that is sent just when its connection is closed is lost, and a client cannot know whether it was served.
    So every answer after the signal is its connection's last, and connections are closed a little after the port.
    """

    def __init__(self, config: uvicorn.Config, engine: AsyncEngine, settings: Settings) -> None:
        super().__init__(config)
        self._engine = engine
        self._delay_seconds = settings.drain_delay_seconds
        self._drain_seconds = settings.drain_seconds
        self._signal: int | None = None
        self.cut_by: int | None = None
        """The second signal: it ended open requests."""
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at once at the second.

        uvicorn would raise the signal again after a clean end; a drained replica exits with 0 instead.
        """
        if self._signal is None:
            self._signal = sig
        elif self.cut_by is None:
            self.cut_by = sig
            asyncio.get_running_loop().call_soon_threadsafe(self._cut)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: begin the drain after a signal, and end when it is over."""
        if self._signal is not None and self._drain is None:
            self._drain = asyncio.create_task(self._drain_all(self._signal), name="drain")
        if self._drain is not None and self._drain.done():
            self._drain.result()
            return True
        return await super().on_tick(counter)

    def _cut(self) -> None:
        """End every connection, as if its client had left, and the engine, which may hang.

        uvicorn's own way would cancel the requests, and tell of each with a stack trace.
        """
        logger.warning("a second signal; open requests that are cut off: %d", len(self.server_state.tasks))
        self.should_exit = True
        self._engine.drain()
        if (engine := self._engine.process_id) is not None:
            os.kill(engine, signal.SIGKILL)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def _drain_all(self, sig: int) -> None:
        delay = 0.0 if sig == signal.SIGINT else self._delay_seconds  # a terminal has no load balancer
        logger.info(
            "%s: new work is taken for %g s more, and open requests have %g s after that; open sequences: %d",
            *(signal.Signals(sig).name, delay, self._drain_seconds, self._engine.num_open),
        )
        self._engine.leave()
        self._keep_no_connections()
        await asyncio.sleep(delay)
        started = time.monotonic()
        await self._engine.stop(self._drain_seconds)
        # What is left are bytes on their way to slow readers.
        left = self._drain_seconds - (time.monotonic() - started)
        self.config.timeout_graceful_shutdown = max(_LAST_BYTES_SECONDS, left)  # type: ignore[assignment]

    def _keep_no_connections(self) -> None:
        """Let every answer that is not whole yet end its connection; where it has not begun, it says so."""
        for connection in self.server_state.connections:
            if isinstance(connection, StrictProtocol):
                connection.end_after_answer()
        self.config.encoded_headers.append(_CLOSE)  # it makes the fields anew once a second
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port, then the connections: those that came last are told, too, that it is over."""
        waiting = select.poll()
        for listener in sockets or []:
            if listener.fileno() >= 0:  # the loop closes one that it could not accept from
                waiting.register(listener, select.POLLIN)
        for _ in range(_LAST_ACCEPTS):
            if not waiting.poll(0):
                break
            await asyncio.sleep(0)  # the loop accepts one at a time
        for server in self.servers:
            server.close()
        await asyncio.sleep(0)  # what was accepted last is a connection then
        await super().shutdown(sockets)


def uvicorn_config(app: object, settings: Settings, metrics: Metrics) -> uvicorn.Config:
    """uvicorn's side of the settings; logging is ours."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        http=partial(  # type: ignore[arg-type]
            StrictProtocol, metrics=metrics, settings=settings, most_connections=most_connections()
        ),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=math.ceil(settings.idle_seconds),
        timeout_graceful_shutdown=1,
        ws="none",
    )
