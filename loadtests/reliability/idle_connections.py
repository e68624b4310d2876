"""Many keep-alive connections that say little: each asks /livez once, and again before the service would close it."""

import asyncio
import resource
import time
from contextlib import suppress

ASK = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
REST_SECONDS = 20.0
"""Between two requests of one connection; the service closes one that is idle for 30 s."""
_AT_ONCE = 64
_SPARE_FILES = 512


def allow_files(count: int) -> None:
    """Let this process, and those that it starts from now on, have so many connections.

    Raises:
        ValueError, OSError: the system's limit is lower, and may not be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))


class _Connection(asyncio.Protocol):
    """One connection; `answer` is done when what was asked is answered."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[bool] | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.answer and not self.answer.done():
            self.answer.set_result(data.startswith(b"HTTP/1.1 200 "))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.answer and not self.answer.done():
            self.answer.set_result(False)

    async def ask(self) -> bool:
        """Whether it answers 200."""
        if self.closed or self.transport is None:
            return False
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(ASK)
        return await self.answer


class IdleConnections:
    """Connections to a port of loopback, opened by `open` and kept by `keep`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._all: list[_Connection] = []

    async def open(self, count: int) -> None:
        """Open so many more, each with one answered request.

        Raises:
            OSError: one cannot be opened.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one() -> None:
            async with slots:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
                await connection.ask()
                self._all.append(connection)

        await asyncio.gather(*[one() for _ in range(count)])

    @property
    def alive(self) -> int:
        """How many the service has not closed."""
        return sum(not connection.closed for connection in self._all)

    async def keep(self) -> None:
        """Ask on each in turn, evenly, until cancelled."""
        pause = REST_SECONDS / max(1, len(self._all))
        due = time.monotonic()
        with suppress(asyncio.CancelledError):
            while self._all:
                for connection in self._all:
                    await connection.ask()
                    due += pause
                    await asyncio.sleep(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        """Close them all."""
        for connection in self._all:
            if connection.transport is not None:
                connection.transport.abort()
