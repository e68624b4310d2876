"""Session: the real engine core on a virtual clock and model, and all that must hold after each of its steps."""

import random
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from app.engine.config import EngineConfig
from app.engine.core.answer_store import AnswerStore
from app.engine.core.block_manager import require
from app.engine.core.engine_core import EngineCore
from app.engine.messages import AddRequest, FinishReason, SequenceOutput
from simulation.clock import VirtualClock
from simulation.faults import Faults, FragileBlocks
from simulation.oracle import Oracle
from simulation.reader import Reader
from simulation.reference import Reference
from simulation.virtual_decoder import VirtualDecoder, loaded

_DRAIN_STEPS = 20_000
_ANSWERED = (FinishReason.STOP, FinishReason.LENGTH)

Lane = Callable[[AddRequest], Hashable]
"""The queue that a request stands in: within it the older one goes first. None: nothing is said of it."""


def first_come(request: AddRequest) -> Hashable:
    """Requests of one tenant and priority without a deadline are served as they came."""
    return (request.priority, request.cache_salt) if request.timeout is None else None


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Sizes as of `EngineConfig`.

    Attributes:
        drafts: by nobody, by the service's own speculator, or by an `Oracle`.
    """

    block_size: int = 4
    num_blocks: int = 24
    max_batch_tokens: int = 16
    prefill_chunk: int = 6
    max_running: int = 6
    max_model_len: int = 64
    prefix_cache: bool = True
    drafts: Literal["none", "own", "oracle"] = "own"

    @property
    def config(self) -> EngineConfig:
        """For the engine."""
        return EngineConfig(
            model="virtual",
            device="cpu",
            block_size=self.block_size,
            kv_cache_tokens=self.num_blocks * self.block_size,
            max_batch_tokens=self.max_batch_tokens,
            prefill_chunk=self.prefill_chunk,
            max_running=self.max_running,
            prefix_cache=self.prefix_cache,
            speculation=self.drafts == "own",
        )


class Session:
    """Takes what a random driver or Hypothesis chooses to do; any call may raise AssertionError.

    Args:
        chooser: of the oracle's drafts.
        lane: which requests must not overtake each other for long.

    Attributes:
        readers: those whose request has not ended, by its number.
        ended: how many did, by reason; `counts`: of what else came to pass.
    """

    def __init__(self, setup: Setup, chooser: random.Random, lane: Lane = first_come) -> None:
        self.setup = setup
        self.clock = VirtualClock()
        self.faults = Faults(self.clock)
        self.readers = dict[int, Reader]()
        self.ended = Counter[str]()
        self.counts = Counter[str]()
        self._chooser = chooser
        self._lane = lane
        self._reference = Reference(setup.max_model_len, setup.num_blocks * setup.block_size)
        self._said = list[int]()
        self._innocents = 0
        """Requests that failed and were not at fault."""
        self._core = self._start()

    @property
    def has_work(self) -> bool:
        """Whether a step would do something."""
        return self._core.has_work

    def submit(self, request: AddRequest) -> None:
        """Ask; its `id` must be new."""
        reader = Reader(request, self._reference.answer(request), self.clock())
        self.readers[request.id] = reader
        self._core.add(request)
        self.counts["requests"] += 1

    def abort(self, number: int) -> None:
        """The reader of a request leaves: at once it has neither a place nor blocks."""
        reader = self.readers.get(number)
        if reader is None:
            self._core.abort(number)  # for one that ended, or never was, it must do nothing
            return
        scheduler = self._core.scheduler
        places = scheduler.num_waiting + scheduler.num_running
        self._core.abort(number)
        failed_already = reader.answer.reason is FinishReason.FAILED
        freed = places - scheduler.num_waiting - scheduler.num_running
        require(
            freed == (not reader.left) or failed_already, f"request {number} was aborted and kept its place"
        )
        self._core.check_invariants()
        reader.left = True

    def step(self) -> None:
        """One step of the engine, if it has work; then everything is checked."""
        if not self.has_work:
            require(not self.readers, f"idle, with requests {sorted(self.readers)} unanswered")
            return
        self._take(self._stepped())

    def crash(self, *, after_step: bool) -> None:
        """The engine ends, perhaps with a step's outputs unsent; another one goes on with what readers have."""
        if after_step and self.has_work:
            self._core.step()
        self.counts["crashes"] += 1
        self._core = self._start()
        for number, reader in list(self.readers.items()):
            if reader.left:
                self._forget(number, FinishReason.ABORTED)
            else:
                self._core.add(reader.again(self.clock()))

    def drain(self) -> None:
        """Step until nothing is left; in the end no block is held, and nobody waits."""
        for _ in range(_DRAIN_STEPS):
            if not self.has_work:
                break
            self.step()
        self.step()
        require(not self.has_work, "it does not come to an end")
        require(self._core.scheduler.blocks.num_used == 0, "blocks are held and nobody is there")

    def _start(self) -> EngineCore:
        setup, decoder = self.setup, VirtualDecoder(self.faults)
        core = EngineCore(
            loaded(decoder, setup.max_model_len), setup.config, AnswerStore(self._said), clock=self.clock
        )
        core.scheduler.blocks = FragileBlocks(core.scheduler.blocks, setup.prefix_cache, self.faults)
        if setup.drafts == "oracle":
            core.scheduler.speculation = Oracle(self.readers, 0.2, self._chooser)
        return core

    def _stepped(self) -> list[SequenceOutput]:
        started, met = self.clock(), self.faults.met.total()
        result = self._core.step()
        self._core.check_invariants()
        outputs, stats = result.outputs, result.stats
        self.counts["steps"] += 1
        self.counts["sequences"] += stats.sequences
        self.counts["preemptions"] += stats.preemptions
        self.counts["drafted"] += stats.drafted
        self.counts["accepted"] += stats.accepted
        self.counts["steps with a fault"] += self.faults.met.total() > met
        require(bool(stats.sequences or outputs), "a step with work did nothing")
        due = {number for number, reader in self.readers.items() if reader.deadline <= started}
        told = {output.id for output in outputs if output.finish_reason is not None}
        require(due <= told, f"requests {sorted(due - told)} went on behind their deadline")
        self._innocents += sum(self._failed_innocently(output) for output in outputs)
        require(
            self._innocents <= self.faults.met["nan"], "a request failed for another's fault, or for nobody's"
        )
        waiting = len(self.readers) - len(told)
        require(stats.running + stats.waiting == waiting, "places are held by nobody, or not held")
        return outputs

    def _failed_innocently(self, output: SequenceOutput) -> bool:
        answer = self.readers[output.id].answer if output.id in self.readers else None
        failed = output.finish_reason is FinishReason.FAILED
        return failed and answer is not None and answer.reason is not FinishReason.FAILED

    def _take(self, outputs: list[SequenceOutput]) -> None:
        for output in outputs:
            reader = self.readers.get(output.id)
            require(reader is not None, f"request {output.id} was answered after its end")
            assert reader is not None
            reader.take(output, self.clock())
            self.counts["cached tokens"] += output.cached_tokens
            if reader.reason is not None:
                self._forget(output.id, reader.reason)
                if reader.reason in _ANSWERED:
                    self._count_overtaken(reader)

    def _forget(self, number: int, reason: FinishReason) -> None:
        reader = self.readers.pop(number)
        self.ended[reason] += 1
        if reason is FinishReason.STOP and len(self._said) < 500:
            self._said += [*reader.said, reader.answer.stop_token or 0]

    def _count_overtaken(self, answered: Reader) -> None:
        """Who stands in the same lane, came before, and has heard nothing since, was overtaken."""
        lane = self._lane(answered.request)
        if lane is None:
            return
        for reader in self.readers.values():
            if reader.submitted < answered.submitted and self._lane(reader.request) == lane:
                reader.overtaken += 1
                self.counts["most overtaken"] = max(self.counts["most overtaken"], reader.overtaken)
                most = 2 * self.setup.max_running
                require(
                    reader.overtaken <= most,
                    f"request {reader.request.id} starves: {most} others overtook it",
                )
