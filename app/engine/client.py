"""AsyncEngine: the API process's handle on the engine: submit, abort, and the loop that hands out what it makes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from time import monotonic

from app.engine.admission import SEQUENCE_TOKENS, Admission, Pending, Work
from app.engine.config import EngineConfig
from app.engine.core_sharing import CoreSharing
from app.engine.interface import EngineObserver, EngineState
from app.engine.messages import (
    Abort,
    AddRequest,
    FinishReason,
    Progress,
    Ready,
    SamplingParams,
    SequenceOutput,
    StepOutputs,
    StepStats,
)
from app.engine.open_request import OpenRequest
from app.engine.recovery import Recovery
from app.engine.stream import RequestStream
from app.engine.supervisor import EngineSupervisor
from app.errors import (
    Draining,
    EngineDied,
    EngineRestarting,
    ReparteeError,
    SequenceFailed,
    Starting,
)
from app.observation import Task

logger = logging.getLogger(__name__)

_WATCH_SECONDS, _STANDSTILL = 0.25, 4
"""How often the engine is looked at, and so many times that is a standstill of this process."""
_DEADLINE_GRACE = 0.25
"""The engine ends requests at their deadline itself; so much later it is done without an engine that hangs."""
_STUCK_SECONDS, _STUCK_STEPS = 2.5, 5
_HUNG_SECONDS, _HUNG_STEPS = 8.0, 15
"""Silence after which an engine with work is called stuck, and is replaced: seconds, but at least so many of the
longest steps that it has shown, for a large model on a small machine is slow and alive."""
_UNKNOWN_STEP_SECONDS = 4.0
"""What a step may take where no warm-up has measured one."""
_RECOVERY_SECONDS = 30.0
"""How long readers wait for another process before their streams end with an error."""


class AsyncEngine:
    """Owns all open requests; lives on one event loop.

    A process that ends on its own, or hangs and is killed, is replaced, and open requests go on in the new one behind
    the tokens that their readers have: greedy and seeded answers, and on the native decoder all others, are those that
    they would have been. What cannot go on ends with an error.

    Args:
        config: first message to each new process.
        observer: the metrics.
        max_waiting: sequences that may wait for an answer; more are refused as `Overloaded`.
        objectives: seconds within which an answer should begin (a decision: end); what is foreseen to be later is
            refused, too. Without one of its task a request may wait until its deadline.
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
        objectives: Mapping[Task, float] | None = None,
        on_failed: Callable[[str], None] = lambda reason: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_ready: Callable[[Ready], None] = lambda info: None,
    ) -> None:
        self._observer = observer
        self._max_batch_tokens = config.max_batch_tokens
        self._admission = Admission(objectives or {}, max_waiting)
        self._core_sharing = CoreSharing()
        self._supervisor = EngineSupervisor(
            config,
            observer,
            on_step=self._on_step,
            on_up=self._on_up,
            on_down=self._on_down,
            on_end=lambda: self._fail_all(EngineDied()),
            is_wanted=self._wants_another,
            on_change=self._publish,
            on_failed=on_failed,
            on_progress=on_progress,
            on_ready=on_ready,
        )
        self._open: dict[int, OpenRequest] = {}
        self._recovery = Recovery(lambda request: self._supervisor.send(request.again()))
        self._patience: asyncio.TimerHandle | None = None
        self._next_id = 0
        self._last_step = monotonic()
        self._longest_step = 0.0
        self._idle = asyncio.Event()
        self._drain_ends = 0.0
        self._watcher: asyncio.Task[None] | None = None

    # State

    @property
    def state(self) -> EngineState:
        state = self._supervisor.state
        takes_work = state in (EngineState.READY, EngineState.LEAVING)
        return EngineState.RESTARTING if takes_work and self._recovery.in_trial else state

    @property
    def info(self) -> Ready | None:
        return self._supervisor.info

    @property
    def making_progress(self) -> bool:
        return not self._is_silent(_STUCK_SECONDS, _STUCK_STEPS)

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return len(self._open)

    @property
    def process_id(self) -> int | None:
        """The engine process, while there is one."""
        return self._supervisor.process_id

    def _is_silent(self, seconds: float, steps: int) -> bool:
        """Whether a process that has work has told of no step for so long."""
        if not any(request.sent for request in self._open.values()):
            return False
        told = self.info.step_seconds if self.info else 0.0
        longest = max(self._longest_step, told or _UNKNOWN_STEP_SECONDS)
        return monotonic() - self._last_step > max(seconds, steps * longest)

    # Lifecycle

    async def start(self, answers: bytes = b"") -> None:
        """Begin to start the engine process; returns at once, `state` tells when it is ready.

        Args:
            answers: known answers, as in `Configure`.
        """
        self._supervisor.start(answers)
        self._watcher = asyncio.create_task(self._watch(), name="engine watcher")

    def leave(self) -> None:
        """Be ready no more for those who ask, but take what still comes until `drain`."""
        self._observer.set_draining(True)
        self._supervisor.leave()

    def drain(self, seconds: float = 0.0) -> None:
        """Take no new requests; those that are open go on, for so long even in another process."""
        self._drain_ends = monotonic() + seconds
        self._observer.set_draining(True)
        self._supervisor.drain()

    async def stop(self, drain_seconds: float = 0.0) -> None:
        """Drain for at most so long, then end the process and whatever is still open."""
        self.drain(drain_seconds)
        if self._open and drain_seconds:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), drain_seconds)
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._fail_all(Draining())
        await self._supervisor.stop()

    # Requests

    def enter(self, task: Task, tenant: str) -> Callable[[], None]:
        """See `Engine.enter`."""
        self._check_state()
        return self._admission.enter(task, tenant)

    def admit(self, work: Work) -> None:
        """See `Engine.admit`."""
        self._check_state()
        self._admission.check(work)

    def submit(
        self,
        prompt: list[int],
        *,
        task: Task = "chat",
        sampling: SamplingParams = SamplingParams(),  # noqa: B008  (frozen)
        labels: list[list[int]] | None = None,
        timeout: float | None = None,
        priority: int = 0,
        tenant: str = "",
        cache_salt: str = "",
    ) -> RequestStream:
        """See `Engine.submit`."""
        self._check_state()
        if self._recovery.is_quarantined(prompt):
            raise SequenceFailed
        self._next_id += 1
        stream = RequestStream(self._next_id, self._abort)
        added = AddRequest(
            id=stream.id,
            prompt=prompt,
            sampling=sampling,
            labels=labels or [],
            timeout=timeout,
            due=self._admission.due(task),
            priority=priority,
            tenant=tenant,
            cache_salt=cache_salt,
        )
        if not self._open:
            self._last_step = monotonic()  # idle until now: silence was no stall
        # Before it counts as open: a value that cannot be encoded must leave nothing behind.
        self._supervisor.send(added)
        request = OpenRequest(added, stream, task)
        if timeout is not None:
            loop = asyncio.get_running_loop()
            request.expiry = loop.call_later(timeout + _DEADLINE_GRACE, self._expire, stream.id)
        self._open[stream.id] = request
        self._admission.opened(stream.id, Pending(tenant, _cost(added), request.order))
        return stream

    def _check_state(self) -> None:
        state = self.state
        if state is EngineState.DRAINING:
            raise Draining
        if state is EngineState.STARTING:
            raise Starting
        if state not in (EngineState.READY, EngineState.LEAVING):
            raise EngineRestarting

    def _abort(self, request_id: int, reason: FinishReason) -> None:
        request = self._open.get(request_id)
        if request is None:
            return
        request.left = reason
        if request.sent:
            self._supervisor.send(Abort(request_id))
        else:
            self._end(request, reason)
            self._recovery.heard_of(request, ended=True)

    def _expire(self, request_id: int) -> None:
        """End a request whose deadline passed without a word from the engine, which may hang."""
        request = self._open.get(request_id)
        if request is not None and not request.stream.finished:
            reason = FinishReason.DEADLINE if request.tokens else FinishReason.EXPIRED
            request.stream.feed(SequenceOutput(id=request_id, finish_reason=reason))
            self._abort(request_id, reason)

    # What comes from the process

    def _on_step(self, step: StepOutputs) -> None:
        now = monotonic()
        self._last_step = now
        self._longest_step = max(0.99 * self._longest_step, step.stats.seconds)
        self._observer.step(step.stats)
        self._admission.stepped(step.stats)
        for output in step.outputs:
            request = self._open.get(output.id)
            if request is None:
                continue
            if output.tokens:
                if request.last_tokens_at is not None:
                    self._observer.inter_token(now - request.last_tokens_at, len(output.tokens))
                request.last_tokens_at = now
            if output.tokens or output.finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
                self._admission.answered(output.id)
            output = request.take(output)
            if output.finish_reason is not None:
                self._end(request, output.finish_reason)
            self._recovery.heard_of(request, ended=output.finish_reason is not None)
            request.stream.feed(output)

    def _end(self, request: OpenRequest, reason: FinishReason) -> None:
        """Forget a request; one that its reader left ended for the reader's reason."""
        self._open.pop(request.added.id, None)
        self._admission.ended(request.added.id)
        if request.expiry is not None:
            request.expiry.cancel()
        left = request.left if reason is FinishReason.ABORTED else None
        self._observer.sequence_finished(request.task, left or reason)
        if not self._open:
            self._idle.set()

    # When the process ends

    def _on_down(self) -> None:
        self._core_sharing.let_engine_finish(False)  # or the next process would have the policy of a flood
        culprit = self._recovery.process_ended(self._open.values())
        if culprit is not None:
            self._fail(culprit, SequenceFailed())
        for request in [request for request in self._open.values() if request.left]:
            self._fail(request, EngineDied())
        if self._open and self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_RECOVERY_SECONDS, self._give_up)

    def _on_up(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._last_step = monotonic()
        if self.info:
            self._admission.measured(self.info.step_seconds, self._max_batch_tokens)
        self._tell_waiting()
        self._recovery.process_ready(self._open.values())

    def _wants_another(self, start_seconds: float) -> bool:
        """Whether a process that takes so long to start could end what is open before the drain does."""
        return bool(self._open) and monotonic() + start_seconds < self._drain_ends

    def _give_up(self) -> None:
        self._patience = None
        self._fail_all(EngineDied())

    def _fail_all(self, error: ReparteeError) -> None:
        for request in list(self._open.values()):
            self._fail(request, error)

    def _fail(self, request: OpenRequest, error: ReparteeError) -> None:
        request.stream.fail(error)
        self._end(request, request.left or FinishReason.FAILED)
        self._recovery.heard_of(request, ended=True)

    async def _watch(self) -> None:
        """Readiness changes without a message when the engine hangs, so it is looked at from time to time."""
        while True:
            fell_asleep = monotonic()
            await asyncio.sleep(_WATCH_SECONDS)
            # As long as this process stood still itself, the engine's words were not read: that is no silence of it.
            stood_still = monotonic() - fell_asleep - _WATCH_SECONDS
            if stood_still > _STANDSTILL * _WATCH_SECONDS:
                self._last_step = min(monotonic(), self._last_step + stood_still)
            self._publish()
            serves = self._supervisor.state is EngineState.READY
            self._core_sharing.let_engine_finish(serves and self._admission.flooded)
            if self._is_silent(_HUNG_SECONDS, _HUNG_STEPS):
                logger.error("the engine has not ended a step for too long; replacing its process")
                self._supervisor.replace()
            if self._supervisor.start_hangs:
                logger.error(
                    "the engine process has not ended a phase of its start for too long; replacing it"
                )
                self._supervisor.replace()

    def _publish(self) -> None:
        self._observer.set_ready(self.state is EngineState.READY and self.making_progress)
        if not self._supervisor.is_up:
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        """Without a process all that is open waits, since its reader last got something."""
        since = [request.last_tokens_at or request.submitted_at for request in self._open.values()]
        oldest = max(0.0, monotonic() - min(since)) if since else 0.0
        self._observer.step(StepStats(waiting=len(since), oldest_wait=oldest))


def _cost(request: AddRequest) -> float:
    return len(request.prompt) + sum(map(len, request.labels)) + SEQUENCE_TOKENS
