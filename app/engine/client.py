"""AsyncEngine: the API process's handle on the engine process (start, submit, abort, readiness, restart)."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.engine.config import EngineConfig
from app.engine.interface import EngineObserver, EngineState
from app.engine.messages import (
    Abort,
    AddRequest,
    Failed,
    FinishReason,
    FromEngine,
    Progress,
    Ready,
    SamplingParams,
    SequenceOutput,
    StepOutputs,
)
from app.engine.process import EngineProcess
from app.engine.stream import RequestStream
from app.errors import Draining, EngineDied, EngineRestarting, Overloaded, ReparteeError, Starting
from app.observation import Task

logger = logging.getLogger(__name__)

_LONGEST_BACKOFF = 10.0
_WATCH_SECONDS = 1.0
_DEADLINE_GRACE = 0.25
"""The engine ends requests at their deadline itself; so much later it is done without an engine that hangs."""


@dataclass(slots=True)
class _OpenRequest:
    """A request that the engine has not ended; `left` says why its reader did."""

    stream: RequestStream
    task: Task
    expiry: asyncio.TimerHandle | None = None
    last_tokens_at: float | None = None
    left: FinishReason | None = None


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
        self._leaving = False
        self._info: Ready | None = None
        self._open: dict[int, _OpenRequest] = {}
        self._next_id = 0
        self._running = 0
        self._last_step = time.monotonic()
        self._last_finish = time.monotonic()
        self._seconds_per_finish = 0.1
        self._answers = b""
        self._process: EngineProcess | None = None
        self._idle = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    # State

    @property
    def state(self) -> EngineState:
        leaving = self._leaving and self._state is EngineState.READY
        return EngineState.LEAVING if leaving else self._state

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
        return self._process.id if self._process else None

    # Lifecycle

    async def start(self, answers: bytes = b"") -> None:
        """Begin to start the engine process; returns at once, `state` tells when it is ready.

        Args:
            answers: known answers, as in `Configure`.
        """
        self._answers = answers
        self._supervisor = asyncio.create_task(self._supervise(), name="engine supervisor")
        self._watcher = asyncio.create_task(self._watch(), name="engine watcher")

    def leave(self) -> None:
        """Be ready no more for those who ask, but take what still comes until `drain`."""
        self._leaving = True
        self._observer.set_draining(True)
        self._set_state(self._state)

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
        tasks = [task for task in (self._supervisor, self._watcher) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._end_process()
        self._fail_open(Draining())

    # Requests

    def submit(
        self,
        prompt: list[int],
        *,
        task: Task = "chat",
        sampling: SamplingParams = SamplingParams(),  # noqa: B008  (frozen)
        labels: list[list[int]] | None = None,
        timeout: float | None = None,
        priority: int = 0,
        cache_salt: str = "",
    ) -> RequestStream:
        """See `Engine.submit`."""
        process = self._admit()
        self._next_id += 1
        stream = RequestStream(self._next_id, self._abort)
        if not self._open:
            self._last_step = self._last_finish = time.monotonic()  # idle until now: silence was no stall
        process.send(  # before it counts as open: a value that cannot be encoded must leave nothing behind
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
        expiry = None
        if timeout is not None:
            loop = asyncio.get_running_loop()
            expiry = loop.call_later(timeout + _DEADLINE_GRACE, self._expire, stream.id)
        self._open[stream.id] = _OpenRequest(stream, task, expiry)
        return stream

    def _admit(self) -> EngineProcess:
        if self._state is EngineState.DRAINING:
            raise Draining
        if self._state is EngineState.STARTING:
            raise Starting
        if self._state is not EngineState.READY or self._process is None:
            raise EngineRestarting
        waiting = len(self._open) - self._running
        if waiting >= self._max_waiting:
            raise Overloaded(max(1.0, self._seconds_per_finish * waiting))
        return self._process

    def _abort(self, request_id: int, reason: FinishReason) -> None:
        request = self._open.get(request_id)
        if request is not None and self._process is not None:
            request.left = reason
            self._process.send(Abort(request_id))

    def _expire(self, request_id: int) -> None:
        """End a request whose deadline passed without a word from the engine, which may hang."""
        request = self._open.get(request_id)
        if request is not None and not request.stream.finished:
            reason = FinishReason.EXPIRED if request.last_tokens_at is None else FinishReason.DEADLINE
            request.stream.feed(SequenceOutput(id=request_id, finish_reason=reason))
            self._abort(request_id, reason)

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
                del self._open[output.id]
                self._finish(request, output.finish_reason)
                self._note_pace(now)
            request.stream.feed(output)

    def _finish(self, request: _OpenRequest, reason: FinishReason) -> None:
        """Note the end of a request; one that its reader left ended for the reader's reason."""
        if request.expiry is not None:
            request.expiry.cancel()
        left = request.left if reason is FinishReason.ABORTED else None
        self._observer.sequence_finished(request.task, left or reason)
        if not self._open:
            self._idle.set()

    def _note_pace(self, now: float) -> None:
        self._seconds_per_finish += 0.1 * (min(now - self._last_finish, 5.0) - self._seconds_per_finish)
        self._last_finish = now

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
        self._process = await EngineProcess.start(self._config, self._on_message, self._answers)
        self._observer.engine_process(self._process.id)
        await self._process.closed()
        was_ready = self._state is EngineState.READY
        if was_ready:  # readiness and streams must not wait until the process is gone for good
            self._set_state(EngineState.RESTARTING)
        self._fail_open()
        await self._end_process()
        return was_ready

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        self._observer.engine_process(None)
        if process is not None:
            await process.end()

    def _fail_open(self, error: ReparteeError | None = None) -> None:
        failed, self._open = self._open, {}
        for request in failed.values():
            request.stream.fail(error or EngineDied())
            self._finish(request, request.left or FinishReason.FAILED)
        self._running = 0
        self._observer.idle()
        self._idle.set()

    async def _watch(self) -> None:
        """Readiness changes without a message when the engine hangs, so it is looked at from time to time."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            self._observer.set_ready(self.state is EngineState.READY and self.making_progress)

    def _set_state(self, state: EngineState) -> None:
        self._state = state
        self._observer.set_ready(self.state is EngineState.READY)
