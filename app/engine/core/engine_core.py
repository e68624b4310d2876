"""EngineCore: add(), abort(), step(). Synchronous, and unaware of the process it runs in."""

import logging
import time
from collections.abc import Callable
from functools import partial

import torch

from app.engine.config import EngineConfig
from app.engine.core.ahead import rounds_ahead
from app.engine.core.answer_store import AnswerStore
from app.engine.core.batch import Batch
from app.engine.core.block_manager import BlockManager
from app.engine.core.memory import MemoryWatch
from app.engine.core.model_loader import LoadedModel
from app.engine.core.model_runner import make_runner
from app.engine.core.native_runner import NativeRunner
from app.engine.core.sampler import Sampler
from app.engine.core.scheduler import ScheduledSequence, Scheduler, StepResult
from app.engine.core.sequence import Sequence
from app.engine.core.speculator import Speculator
from app.engine.core.step_cost import StepCost
from app.engine.messages import AddRequest, StepOutputs, StepStats

logger = logging.getLogger(__name__)


class EngineCore:
    """Runs requests to their end, one step at a time.

    Args:
        loaded: the model.
        config: budgets and sizes.
        answers: known answers, from which drafts are taken.
        arrivals: file descriptor that is readable while requests or aborts wait to be taken in; negative for none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        config: EngineConfig,
        answers: AnswerStore | None = None,
        arrivals: int = -1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._runner = make_runner(loaded, config)
        self._sampler = Sampler(loaded.eos_token_ids, config.seed)
        self.num_blocks = self._runner.num_blocks
        self._eos = sorted(loaded.eos_token_ids)
        self._memory = MemoryWatch(loaded.device)
        self._arrivals = arrivals
        self._cost = StepCost()
        self._rounds = 0
        """Rounds of the last step; 0 if it was none whose time means anything."""
        self._last_end = 0.0
        # Elsewhere the shape of a batch changes roundings, and with a draft the answer could be another.
        native = isinstance(self._runner, NativeRunner)
        speculation = None
        if config.speculation and native:
            speculation = Speculator(
                answers or AnswerStore([]), loaded.eos_token_ids, loaded.max_model_len, self._cost, clock
            )
        self.scheduler = Scheduler(
            BlockManager(self.num_blocks, config.block_size, config.prefix_cache),
            max_batch_tokens=config.max_batch_tokens,
            max_running=config.max_running,
            prefill_chunk=config.prefill_chunk,
            eos_token_ids=loaded.eos_token_ids,
            max_model_len=loaded.max_model_len,
            speculation=speculation,
            rounds=partial(rounds_ahead, self._cost) if native else None,
            clock=clock,
        )

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do."""
        return self.scheduler.has_work

    def add(self, request: AddRequest) -> None:
        """Queue a request; its outputs come from `step`."""
        self.scheduler.add(Sequence.of(request, self._clock()))

    def abort(self, request_id: int) -> None:
        """End a request early."""
        self.scheduler.abort(request_id)

    def step(self) -> StepOutputs:
        """Schedule, run, update."""
        started = self._clock()
        scheduled = self._schedule()
        before_forward = self._clock()
        self._rounds = 0
        results = self._run(scheduled) if scheduled else []
        after_forward = self._clock()
        self._clear_failed(scheduled, results)
        outputs = self.scheduler.update(scheduled, results)
        stats = self._stats(scheduled, results, started, after_forward - before_forward)
        if self._rounds and stats.phase == "decode":
            self._learn_cost(scheduled, stats)
        self._last_end = self._clock() if self.has_work else 0.0
        return StepOutputs(outputs, stats)

    def _learn_cost(self, scheduled: list[ScheduledSequence], stats: StepStats) -> None:
        sequences, burst = len(scheduled), scheduled[0].burst is not None
        forward = stats.forward_seconds
        context = sum(item.end for item in scheduled)
        self._cost.measured(
            sequences, stats.drafted / self._rounds, context, forward / self._rounds, burst=burst
        )
        if self._last_end:
            self._cost.called(sequences, self._clock() - self._last_end - forward, burst=burst)

    def check_invariants(self) -> None:
        """Raise AssertionError unless queues and blocks agree: after that, no answer can be trusted."""
        self.scheduler.check_invariants()

    def _schedule(self) -> list[ScheduledSequence]:
        """The next step's sequences; where choosing them raises, once more with everyone back in the queue.

        A failed assertion is not forgiven: then the books were wrong before.
        """
        try:
            return self.scheduler.schedule()
        except AssertionError:
            raise
        except Exception:
            logger.exception("scheduling failed; all running sequences are computed again")
        self.scheduler.start_over()
        return self.scheduler.schedule()

    def _run(self, scheduled: list[ScheduledSequence]) -> list[StepResult]:
        """Run a batch; where it raises, halve it until only the culprits fail.

        Running a sequence again is harmless: it writes the same K and V to the same slots.
        """
        try:
            return self._compute(scheduled)
        except torch.AcceleratorError:
            raise  # the device's context is lost, and every later batch with it: only a new process can serve
        except Exception as error:
            memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        # Behind the handler: within it the traceback would hold all that the failed pass had allocated.
        results = self._run_parts(scheduled, memory)
        self._rounds = 0  # what such a step takes is not what the next one will
        return results

    def _compute(self, scheduled: list[ScheduledSequence]) -> list[StepResult]:
        if scheduled[0].burst and isinstance(self._runner, NativeRunner):
            results, self._rounds = self._runner.burst(scheduled, self._eos, self._arrivals)
            return results
        self._rounds = 1
        batch = Batch.of(scheduled)
        return self._sampler.sample(batch, self._runner.run(batch))

    def _run_parts(self, scheduled: list[ScheduledSequence], memory: bool) -> list[StepResult]:
        """A batch that raised, in two halves; a single sequence without what it was to say ahead.

        Args:
            memory: it lacked memory, so that half of a prompt's chunk may do where the whole did not.
        """
        item, half = scheduled[0], len(scheduled) // 2
        if half:
            return self._run(scheduled[:half]) + self._run(scheduled[half:])
        if item.draft or item.burst:
            return self._run([ScheduledSequence(item.sequence, item.start, item.end - item.start)])
        if memory and (half := item.length // 2):
            first = self._run([ScheduledSequence(item.sequence, item.start, half)])
            if first[0].failed:
                return first
            return self._run([ScheduledSequence(item.sequence, item.start + half, item.length - half)])
        return [self._run_again(item)]

    def _run_again(self, item: ScheduledSequence) -> StepResult:
        """A sequence that raised alone, once more: only what raises again is its own fault."""
        try:
            return self._compute([item])[0]
        except torch.AcceleratorError:
            raise
        except Exception:
            logger.exception("the forward pass of one request failed twice")
            return StepResult(failed=True)

    def _clear_failed(self, scheduled: list[ScheduledSequence], results: list[StepResult]) -> None:
        """Leave no NaN of a failed sequence in the cache: attention would carry it to the blocks' next holder."""
        for item, result in zip(scheduled, results, strict=True):
            if result.failed:
                self._runner.clear(self.scheduler.blocks.discard(item.sequence))

    def _stats(
        self, scheduled: list[ScheduledSequence], results: list[StepResult], started: float, forward: float
    ) -> StepStats:
        scheduler = self.scheduler
        return StepStats(
            seconds=self._clock() - started,
            forward_seconds=forward,
            phase=_phase(scheduled),
            sequences=len(scheduled),
            tokens=sum(map(_computed, scheduled, results)),
            running=scheduler.num_running,
            waiting=scheduler.num_waiting,
            oldest_wait=scheduler.oldest_wait(),
            kv_blocks_used=scheduler.blocks.num_used,
            preemptions=scheduler.preemptions,
            drafted=scheduler.drafted,
            accepted=scheduler.accepted,
            torch_memory=self._memory.look(),
        )


def _computed(item: ScheduledSequence, result: StepResult) -> int:
    """Tokens that the step computed for the sequence; in a burst each round's last one, and the drafts."""
    if item.burst is None:
        return item.length
    return len(result.tokens) + (result.fate.drafted - result.fate.accepted if result.fate else 0)


def _phase(scheduled: list[ScheduledSequence]) -> str:
    if all(item.sequence.tree for item in scheduled):
        return "classify" if scheduled else "decode"
    return "decode" if all(item.length == 1 + len(item.draft) for item in scheduled) else "prefill"
