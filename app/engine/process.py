"""EngineProcess: one child process that runs the engine, and the channel to it."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from app.engine.channel import AsyncChannel, open_socketpair
from app.engine.config import EngineConfig
from app.engine.log_lines import LINE_BYTES, relay
from app.engine.messages import Configure, FromEngine, ToEngine

_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 0.3
"""One that ends in order needs no longer; one that hangs, or is slow, holds nothing that a kill would lose, and the end
of a drain is promised to the second."""
_LAST_WORDS_SECONDS = 1.0
"""How long the log of a process that ended is read on: a process that it started may hold its standard error open."""
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that spin while they wait take the core from the one that they wait for, as soon as anybody else uses a core
(docs/adr/0008). The operator's own variable comes first."""


class EngineProcess:
    """A started process; it is told to stop by closing the channel, and killed if it does not."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: AsyncChannel, closed: asyncio.Event
    ) -> None:
        self._process = process
        self._channel = channel
        self._closed = closed
        assert process.stderr is not None
        self._log = asyncio.create_task(relay(process.stderr), name="engine log")

    @classmethod
    async def start(
        cls, config: EngineConfig, on_message: Callable[[FromEngine], None], answers: bytes = b""
    ) -> "EngineProcess":
        """Start one and give it its configuration and, as `Configure` says, the known answers.

        Raises:
            OSError: the system gives no process or no socket.
            OverflowError: the configuration has a number that no message can carry.
        """
        ours, theirs = open_socketpair()
        process: asyncio.subprocess.Process | None = None
        channel: AsyncChannel | None = None
        closed = asyncio.Event()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "app.engine",
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    env=_WAITING | os.environ | {"PYTHONPATH": str(_SOURCE_ROOT)},
                    stdin=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    limit=LINE_BYTES,
                )
            channel = await AsyncChannel.open(ours, on_message, closed.set)
            channel.send(Configure(config, answers))
            return cls(process, channel, closed)
        except BaseException:  # nobody else knows of what was begun
            (channel or ours).close()
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            raise

    @property
    def id(self) -> int | None:
        """Its process id while it lives."""
        return self._process.pid if self._process.returncode is None else None

    @property
    def end_reason(self) -> str:
        """How it ended, for people; empty while it lives."""
        code = self._process.returncode
        if code is None:
            return ""
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def send(self, message: ToEngine) -> None:
        """Send a message; one to a process that ended is lost, as the end of the channel tells."""
        self._channel.send(message)

    def kill(self) -> None:
        """End it at once; `closed` tells when it did."""
        if self._process.returncode is None:
            self._process.kill()

    async def closed(self) -> None:
        """Return when the channel has ended, which is when the process did."""
        await self._closed.wait()

    async def end(self) -> None:
        """Close the channel, which tells the process to stop, and make sure that it does."""
        self._channel.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await asyncio.wait([self._log], timeout=_LAST_WORDS_SECONDS)
        self._log.cancel()
