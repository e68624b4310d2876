"""AsyncEngine: the API process's handle on the engine process (start, submit, abort, readiness, restart)."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from app.engine.channel import AsyncChannel, open_socketpair
from app.engine.config import EngineConfig
from app.engine.messages import (
    Abort,
    AddRequest,
    Configure,
    Failed,
    FromEngine,
    Progress,
    Ready,
    SamplingParams,
    SequenceOutput,
    StepOutputs,
    StepStats,
)
from app.engine.stream import RequestStream
from app.errors import Draining, EngineDied, EngineRestarting, Overloaded, Starting
from app.observation import Task

logger = logging.getLogger(__name__)

_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_BACKOFF = 10.0
_STOP_SECONDS = 5.0


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


class EngineObserver(Protocol):
    """What the output loop tells the metrics."""

    def loading(self, phase: str, seconds: float) -> None: ...
    def ready(self, info: Ready) -> None: ...
    def set_ready(self, ready: bool) -> None: ...
    def set_draining(self, draining: bool) -> None: ...
    def step(self, stats: StepStats) -> None: ...
    def inter_token(self, seconds: float, tokens: int) -> None: ...
    def sequence_finished(self, task: Task, output: SequenceOutput) -> None: ...
    def engine_restarted(self) -> None: ...
    def idle(self) -> None: ...


@dataclass(slots=True)
class _OpenRequest:
    stream: RequestStream
    task: Task
    last_tokens_at: float | None = None


class AsyncEngine:
    """Owns the engine process and all open request streams; lives on one event loop.

    The process is started again, with a growing pause, whenever it ends on its own. Streams that were open then end
    with `EngineDied`.

    Args:
        config: first message to each new process.
        observer: the metrics.
        max_waiting: sequences that may wait; more are refused as `Overloaded`.
        stall_seconds: with work open and no step for so long, `making_progress` is False.
        on_failed: called with the reason when the first start is hopeless.
        on_progress: called with each finished phase of a start.
        on_ready: called each time an engine process is ready.
    """

    def __init__(
        self,
        config: EngineConfig,
        observer: EngineObserver,
        *,
        max_waiting: int = 256,
        stall_seconds: float = 10.0,
        on_failed: Callable[[str], None] = lambda reason: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_ready: Callable[[Ready], None] = lambda info: None,
    ) -> None:
        self._config = config
        self._observer = observer
        self._max_waiting = max_waiting
        self._stall_seconds = stall_seconds
        self._on_failed = on_failed
        self._on_progress = on_progress
        self._on_ready = on_ready
        self._state = EngineState.STARTING
        self._info: Ready | None = None
        self._open: dict[int, _OpenRequest] = {}
        self._next_id = 0
        self._running = 0
        self._last_step = time.monotonic()
        self._last_finish = time.monotonic()
        self._seconds_per_finish = 0.1
        self._process: asyncio.subprocess.Process | None = None
        self._channel: AsyncChannel | None = None
        self._closed = asyncio.Event()
        self._idle = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    # State

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def info(self) -> Ready | None:
        return self._info

    @property
    def making_progress(self) -> bool:
        return not self._open or time.monotonic() - self._last_step < self._stall_seconds

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return len(self._open)

    @property
    def process_id(self) -> int | None:
        """The engine process, while there is one."""
        return self._process.pid if self._process and self._process.returncode is None else None

    # Lifecycle

    async def start(self) -> None:
        """Begin to start the engine process; returns at once, `state` tells when it is ready."""
        self._supervisor = asyncio.create_task(self._supervise(), name="engine supervisor")

    def drain(self) -> None:
        """Take no new requests; those that are open go on."""
        self._set_state(EngineState.DRAINING)
        self._observer.set_draining(True)

    async def stop(self, drain_seconds: float = 0.0) -> None:
        """Drain for at most so long, then end the process and whatever is still open."""
        self.drain()
        if self._open and drain_seconds:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), drain_seconds)
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await self._end_process()
        self._fail_open()

    # Requests

    def submit(
        self,
        prompt: list[int],
        *,
        sampling: SamplingParams = SamplingParams(),  # noqa: B008  (frozen)
        labels: list[list[int]] | None = None,
        timeout: float | None = None,
        priority: int = 0,
        cache_salt: str = "",
    ) -> RequestStream:
        """See `Engine.submit`."""
        channel = self._admit()
        self._next_id += 1
        stream = RequestStream(self._next_id, self._abort)
        if not self._open:
            self._last_step = self._last_finish = time.monotonic()  # idle until now: silence was no stall
        channel.send(  # before it counts as open: a value that cannot be encoded must leave nothing behind
            AddRequest(
                id=stream.id,
                prompt=prompt,
                sampling=sampling,
                labels=labels or [],
                timeout=timeout,
                priority=priority,
                cache_salt=cache_salt,
            )
        )
        self._open[stream.id] = _OpenRequest(stream, "decision" if labels else "chat")
        return stream

    def _admit(self) -> AsyncChannel:
        if self._state is EngineState.DRAINING:
            raise Draining
        if self._state is EngineState.STARTING:
            raise Starting
        if self._state is not EngineState.READY or self._channel is None:
            raise EngineRestarting
        waiting = len(self._open) - self._running
        if waiting >= self._max_waiting:
            raise Overloaded(max(1.0, self._seconds_per_finish * waiting))
        return self._channel

    def _abort(self, request_id: int) -> None:
        if request_id in self._open and self._channel is not None:
            self._channel.send(Abort(request_id))

    # Output loop

    def _on_message(self, message: FromEngine) -> None:
        match message:
            case StepOutputs():
                self._on_step(message)
            case Progress():
                self._observer.loading(message.phase, message.seconds)
                self._on_progress(message)
            case Ready():
                self._info = message
                self._observer.ready(message)
                if self._state is not EngineState.DRAINING:
                    self._set_state(EngineState.READY)
                self._on_ready(message)
            case Failed():
                logger.error("engine: %s", message.message)
                if self._state is not EngineState.DRAINING:
                    self._set_state(EngineState.FAILED)
                if self._info is None:  # a later start is tried again instead
                    self._on_failed(message.message)

    def _on_step(self, step: StepOutputs) -> None:
        now = time.monotonic()
        self._last_step = now
        self._running = step.stats.running
        self._observer.step(step.stats)
        for output in step.outputs:
            request = self._open.get(output.id)
            if request is None:
                continue
            if output.tokens:
                if request.last_tokens_at is not None:
                    self._observer.inter_token(now - request.last_tokens_at, len(output.tokens))
                request.last_tokens_at = now
            if output.finish_reason is not None:
                self._finish(request.task, output, now)
            request.stream.feed(output)

    def _finish(self, task: Task, output: SequenceOutput, now: float) -> None:
        del self._open[output.id]
        self._observer.sequence_finished(task, output)
        self._seconds_per_finish += 0.1 * (min(now - self._last_finish, 5.0) - self._seconds_per_finish)
        self._last_finish = now
        if not self._open:
            self._idle.set()

    # Process

    async def _supervise(self) -> None:
        failures = 0
        while self._may_start():
            try:
                was_ready = await self._run_process()
            except OSError as error:
                logger.error("the engine process could not be started: %s", error)
                was_ready = False
            self._fail_open()
            if not self._may_start():
                return
            failures = 1 if was_ready else failures + 1
            pause = min(0.1 * 2.0**failures, _LONGEST_BACKOFF)
            logger.error("the engine process ended; starting it again in %.1f s", pause)
            self._set_state(EngineState.RESTARTING)
            self._observer.engine_restarted()
            await asyncio.sleep(pause)

    def _may_start(self) -> bool:
        """Whether a process may be started: not while draining, nor after a first start that was hopeless."""
        hopeless = self._state is EngineState.FAILED and self._info is None
        return not hopeless and self._state is not EngineState.DRAINING

    async def _run_process(self) -> bool:
        """Run one engine process to its end; True if it was ready at some time.

        Raises:
            OSError: the system gives no process or no socket.
        """
        self._closed.clear()
        self._channel = await AsyncChannel.open(await self._spawn(), self._on_message, self._closed.set)
        self._channel.send(Configure(self._config))
        await self._closed.wait()
        was_ready = self._state is EngineState.READY
        if was_ready:  # readiness and streams must not wait until the process is gone for good
            self._set_state(EngineState.RESTARTING)
        self._fail_open()
        await self._end_process()
        return was_ready

    async def _spawn(self) -> socket.socket:
        """Start an engine process; returns our end of its channel."""
        ours, theirs = open_socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "app.engine",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": str(_SOURCE_ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    async def _end_process(self) -> None:
        """Close the channel, which tells the engine to stop, and make sure that it does."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    def _fail_open(self) -> None:
        for request in list(self._open.values()):
            request.stream.fail(EngineDied())
        self._open.clear()
        self._running = 0
        self._observer.idle()
        self._idle.set()

    def _set_state(self, state: EngineState) -> None:
        self._state = state
        self._observer.set_ready(state is EngineState.READY)
