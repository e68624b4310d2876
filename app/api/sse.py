"""EventStream: server-sent events from ready-made bytes, with keep-alives and a stall limit."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.error_handlers import describe, observed_code
from app.errors import DeadlineExceeded, EngineFailure, ReparteeError
from app.observation import Observation

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
ABORT = "repartee.abort"
"""The extension in the ASGI scope through which the server lets a connection be cut."""
HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def event(data: bytes) -> bytes:
    """One event; `data` is JSON on one line."""
    return b"data: " + data + b"\n\n"


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Seconds of silence after which a comment is sent, and of one write after which a reader is cut off."""

    keep_alive: float
    write_stall: float


class EventStream(Response):
    """A response that begins with its first event.

    So a failure before the first token is an ordinary HTTP error. A silence of `keep_alive` seconds begins
    the response too, lest proxies give up; a failure after the first byte is one error event, and the end
    without `[DONE]`.

    Args:
        events: the bytes to write.
        close: frees what is behind `events`, however the response ends; harmless when repeated.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        close: Callable[[], None],
        limits: StreamLimits,
        observation: Observation,
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._close = close
        self._limits = limits
        self._observation = observation
        observation.stream = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the events until they end, the client leaves, or it reads too slowly."""
        connection = _Connection(send, self.raw_headers, self._limits)
        writer = asyncio.create_task(self._write(connection))
        watcher = asyncio.create_task(_left(receive))
        keeper = asyncio.create_task(connection.keep())
        tasks = (writer, watcher, keeper)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writer.done() or connection.finished:  # a whole response, too, reads as a disconnect
                await writer
            else:
                self._observation.outcome = "cancelled"
                if keeper.done():
                    _cut(scope)
        finally:
            await _end(tasks)
            self._close()  # an iteration that never began has no end of its own

    async def _write(self, connection: "_Connection") -> None:
        try:
            async with aclosing(self._events) as events:
                async for data in events:
                    await connection.send(data)
            await connection.finish()
        except Exception as error:
            if not connection.started:
                raise
            await self._fail(connection, error)

    async def _fail(self, connection: "_Connection", error: Exception) -> None:
        known = (
            error if isinstance(error, ReparteeError) else EngineFailure("The server failed on this request.")
        )
        observation = self._observation
        observation.outcome = "timeout" if isinstance(known, DeadlineExceeded) else "error"
        observation.error_code = observed_code(known)
        await connection.send(event(msgspec.json.encode(describe(known, observation.request_id))))
        await connection.finish()
        if known is not error:
            raise error


class _Connection:
    """The way to one client; writes wait for each other.

    Nothing is armed for a write, of which there are thousands a second: `keep` looks at the time of the last one.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], limits: StreamLimits) -> None:
        self._send = send
        self._headers = headers
        self._limits = limits
        self._lock = asyncio.Lock()
        self._since = time.monotonic()
        """When the write that is going on began, or else the last one ended."""
        self.started = False
        self.finished = False

    async def send(self, data: bytes, more: bool = True) -> None:
        """Write, after the response's start where this is the first write."""
        async with self._lock:
            self._since = time.monotonic()
            if not self.started:
                self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
            self._since = time.monotonic()

    async def finish(self) -> None:
        """End the response."""
        await self.send(b"", more=False)
        self.finished = True

    async def keep(self) -> None:
        """Write a comment whenever there was silence for too long; return when one write takes too long."""
        limits = self._limits
        with suppress(TimeoutError):
            while True:
                writing = self._lock.locked()
                left = self._since + (limits.write_stall if writing else limits.keep_alive) - time.monotonic()
                if left > 0:
                    # No longer than a write may take: one may begin in the meantime, and stall.
                    await asyncio.sleep(min(left, limits.write_stall))
                elif writing:
                    return
                else:
                    async with asyncio.timeout(limits.write_stall):
                        await self.send(KEEP_ALIVE)


def _cut(scope: Scope) -> None:
    """End the connection at once; what the client has not read is dropped. Servers without it just stop writing."""
    extension = scope.get("extensions", {}).get(ABORT)
    if extension:
        extension["abort"]()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel what still runs, and wait until it has cleaned up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
