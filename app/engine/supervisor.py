"""EngineSupervisor: keeps one engine process running, and says what can be asked of it now."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import monotonic

from app.engine.config import EngineConfig
from app.engine.interface import EngineObserver, EngineState
from app.engine.messages import Failed, FromEngine, Progress, Ready, StepOutputs, ToEngine
from app.engine.process import EngineProcess

logger = logging.getLogger(__name__)

_LONGEST_BACKOFF = 10.0
_FIRST_PHASE_SECONDS = 1800.0
"""Silence after which a first start is taken to hang: a large model may come from a slow disk."""
_PHASE_SECONDS, _PHASES = 120.0, 10
"""The same for a later start: seconds, but at least so many of the longest phases that a start has shown."""


class EngineSupervisor:
    """Starts the engine process, and another one, with a growing pause, whenever it ends on its own.

    Args:
        config: first message to each new process.
        observer: the metrics.
        on_step: called with what each step made.
        on_up: called when a process can be given requests.
        on_down: called when a process has ended, before anything else is done about it.
        on_end: called when no other process will be started.
        is_wanted: while draining, whether a process that takes so many seconds to start is of use to anybody.
        on_change: called after each change of `state`.
        on_failed: called with the reason when the first start is hopeless.
        on_progress: called with each finished phase of a start.
        on_ready: called each time a process is ready.
    """

    def __init__(
        self,
        config: EngineConfig,
        observer: EngineObserver,
        *,
        on_step: Callable[[StepOutputs], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
        on_end: Callable[[], None],
        is_wanted: Callable[[float], bool],
        on_change: Callable[[], None],
        on_failed: Callable[[str], None],
        on_progress: Callable[[Progress], None],
        on_ready: Callable[[Ready], None],
    ) -> None:
        self._config = config
        self._observer = observer
        self._on_step = on_step
        self._on_up = on_up
        self._on_down = on_down
        self._on_end = on_end
        self._is_wanted = is_wanted
        self._on_change = on_change
        self._on_failed = on_failed
        self._on_progress = on_progress
        self._on_ready = on_ready
        self._state = EngineState.STARTING
        self._leaving = False
        self._draining = asyncio.Event()
        self._end_reason = ""
        self._begun = monotonic()
        self._start_seconds = 0.0
        self._phase_begun: float | None = None
        self._longest_phase = 0.0
        self._info: Ready | None = None
        self._answers = b""
        self._process: EngineProcess | None = None
        self._birth: asyncio.Task[EngineProcess] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> EngineState:
        """What can be asked now."""
        if self._draining.is_set():
            return EngineState.DRAINING
        leaving = self._leaving and self._state is EngineState.READY
        return EngineState.LEAVING if leaving else self._state

    @property
    def is_up(self) -> bool:
        """Whether there is a process that takes requests."""
        return self._state is EngineState.READY

    @property
    def info(self) -> Ready | None:
        """What the last process found at its start; None until one was ready."""
        return self._info

    @property
    def process_id(self) -> int | None:
        """The process, while there is one."""
        return self._process.id if self._process else None

    @property
    def start_hangs(self) -> bool:
        """Whether a process that starts has told of no end of a phase for far longer than one takes."""
        if self._phase_begun is None:
            return False
        known = max(_PHASE_SECONDS, _PHASES * self._longest_phase)
        return monotonic() - self._phase_begun > (known if self._info else _FIRST_PHASE_SECONDS)

    def start(self, answers: bytes) -> None:
        """Begin to start a process; returns at once.

        Args:
            answers: known answers, as in `Configure`.
        """
        self._answers = answers
        self._task = asyncio.create_task(self._run(), name="engine supervisor")

    def leave(self) -> None:
        """Say that the service will end soon; nothing else changes."""
        self._leaving = True
        self._on_change()

    def drain(self) -> None:
        """Start no process any more that is not wanted."""
        self._draining.set()
        self._on_change()

    async def stop(self) -> None:
        """End the process."""
        self.drain()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._birth is not None:  # a process that is being made has no owner yet, and must not stay behind
            with contextlib.suppress(OSError):
                self._process = await self._birth
        await self._end_process()

    def send(self, message: ToEngine) -> None:
        """Send a message to the process; without one it is lost."""
        if self._process is not None:
            self._process.send(message)

    def replace(self) -> None:
        """Kill a process that hangs, so that another one takes its place."""
        if self._process is not None:
            self._process.kill()

    def on_message(self, message: FromEngine) -> None:
        """Take one message of the process."""
        match message:
            case StepOutputs():
                self._on_step(message)
            case Progress():
                self._phase_begun = monotonic()
                self._longest_phase = max(self._longest_phase, message.seconds)
                self._observer.loading(message.phase, message.seconds)
                self._on_progress(message)
            case Ready():
                self._info = message
                self._observer.ready(message)
                self._start_seconds = monotonic() - self._begun
                self._phase_begun = None
                self._set_state(EngineState.READY)
                self._on_up()
                self._on_ready(message)
            case Failed():
                logger.error("engine: %s", message.message)
                self._set_state(EngineState.FAILED)
                if self._info is None:  # a later start is tried again instead
                    self._on_failed(message.message)

    async def _run(self) -> None:
        failures = 0
        while self._may_start():
            try:
                was_ready = await self._run_process()
            except OSError as error:
                logger.error("the engine process could not be started: %s", error)
                was_ready = False
            except Exception as error:
                logger.exception("the engine process could not be run")
                await self._end_process()
                what = f"The engine cannot be run: {type(error).__name__}; the log above says where."
                self.on_message(Failed(what))
                was_ready = False
            failures = 1 if was_ready else failures + 1
            pause = min(0.1 * 2.0**failures, _LONGEST_BACKOFF)
            if not self._may_start(pause):
                break
            logger.error(
                "the engine process ended (%s); starting it again in %.1f s", self._end_reason, pause
            )
            self._observer.engine_restarted()
            self._set_state(EngineState.RESTARTING)
            await self._sleep(pause)
        self._on_end()

    async def _sleep(self, pause: float) -> None:
        """Wait for so long; a drain that begins meanwhile has no time to lose."""
        if self._draining.is_set():
            await asyncio.sleep(pause)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), pause)

    def _may_start(self, pause: float = 0.0) -> bool:
        """Whether to start a process after a pause: not after a hopeless first start, nor for nobody in a drain."""
        hopeless = self._state is EngineState.FAILED and self._info is None
        return not hopeless and (not self._draining.is_set() or self._is_wanted(pause + self._start_seconds))

    async def _run_process(self) -> bool:
        """Run one engine process to its end; True if it was ready at some time.

        Raises:
            OSError: the system gives no process or no socket.
        """
        self._begun = monotonic()
        self._end_reason = "it did not start"
        start = EngineProcess.start(self._config, self.on_message, self._answers)
        self._birth = asyncio.create_task(start, name="engine start")
        try:
            self._process = await asyncio.shield(self._birth)
        finally:
            if self._birth.done():
                self._birth = None
        self._observer.engine_process(self._process.id)
        self._phase_begun = monotonic()
        await self._process.closed()
        self._phase_begun = None
        was_ready = self._state is EngineState.READY
        if was_ready:  # readiness and streams must not wait until the process is gone for good
            self._set_state(EngineState.RESTARTING)
        self._on_down()
        await self._end_process()
        return was_ready

    async def _end_process(self) -> None:
        self._observer.engine_process(None)
        if self._process is not None:
            await self._process.end()
            self._end_reason = self._process.end_reason
            self._process = None  # only now: a stop that comes in between ends it again

    def _set_state(self, state: EngineState) -> None:
        self._state = state
        self._on_change()
