"""EngineProcess: one child process that runs the engine, and the channel to it."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from app.engine.channel import AsyncChannel, open_socketpair
from app.engine.config import EngineConfig
from app.engine.messages import Configure, FromEngine, ToEngine

_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 5.0
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

    @classmethod
    async def start(
        cls, config: EngineConfig, on_message: Callable[[FromEngine], None], answers: bytes = b""
    ) -> "EngineProcess":
        """Start one and give it its configuration and, as `Configure` says, the known answers.

        Raises:
            OSError: the system gives no process or no socket.
        """
        ours, theirs = open_socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "app.engine",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                env=_WAITING | os.environ | {"PYTHONPATH": str(_SOURCE_ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        closed = asyncio.Event()
        channel = await AsyncChannel.open(ours, on_message, closed.set)
        channel.send(Configure(config, answers))
        return cls(process, channel, closed)

    @property
    def id(self) -> int | None:
        """Its process id while it lives."""
        return self._process.pid if self._process.returncode is None else None

    def send(self, message: ToEngine) -> None:
        """Send a message; one to a process that ended is lost, as the end of the channel tells."""
        self._channel.send(message)

    async def closed(self) -> None:
        """Return when the channel has ended, which is when the process did."""
        await self._closed.wait()

    async def end(self) -> None:
        """Close the channel, which tells the process to stop, and make sure that it does."""
        self._channel.close()
        if self._process.returncode is not None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
