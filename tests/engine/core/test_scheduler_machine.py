"""Scheduler under random requests, aborts, time and failures: its promises hold after each step."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence, SequenceStatus
from app.engine.messages import FinishReason, SequenceOutput
from tests.engine.core.virtual_engine import VirtualEngine

BUDGET, CHUNK, RUNNING = 6, 3, 3
TOKENS = st.lists(st.integers(0, 3), min_size=RUNNING, max_size=RUNNING)


class Scheduling(RuleBasedStateMachine):
    """A cache of twelve tokens, so that two sequences of ten preempt each other all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = VirtualEngine(
            num_blocks=6,
            block_size=2,
            max_batch_tokens=BUDGET,
            prefill_chunk=CHUNK,
            max_running=RUNNING,
            max_model_len=12,
        )
        self.sequences: dict[int, Sequence] = {}
        self.sampled: dict[int, list[int]] = {}
        self.outputs: dict[int, list[SequenceOutput]] = {}

    def accept(self, sequence: Sequence) -> None:
        self.sequences[sequence.id] = sequence
        self.sampled[sequence.id] = []
        self.outputs[sequence.id] = []

    @rule(
        prompt=st.lists(st.integers(2, 3), max_size=13),
        max_tokens=st.integers(1, 8),
        priority=st.integers(0, 1),
        timeout=st.none() | st.integers(1, 5).map(float),
        salt=st.sampled_from(["", "a"]),
    )
    def chat(
        self, prompt: list[int], max_tokens: int, priority: int, timeout: float | None, salt: str
    ) -> None:
        number = len(self.sequences)
        self.accept(
            self.engine.add(
                number, prompt, max_tokens=max_tokens, priority=priority, timeout=timeout, cache_salt=salt
            )
        )

    @rule(
        prompt=st.lists(st.integers(2, 3), min_size=1, max_size=10),
        labels=st.lists(st.lists(st.integers(4, 6), max_size=3), min_size=1, max_size=4),
        timeout=st.none() | st.integers(1, 5).map(float),
    )
    def decision(self, prompt: list[int], labels: list[list[int]], timeout: float | None) -> None:
        self.accept(self.engine.add(len(self.sequences), prompt, labels=labels, timeout=timeout))

    @rule(number=st.integers(0, 20))
    def abort(self, number: int) -> None:
        self.engine.scheduler.abort(number)

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.engine.now += seconds

    @rule(tokens=TOKENS, failing=st.none() | st.integers(0, RUNNING - 1))
    def step(self, tokens: list[int], failing: int | None = None) -> None:
        was_running = [s for s in self.sequences.values() if s.status is SequenceStatus.RUNNING]
        scheduled = self.engine.schedule()
        self.check_schedule(scheduled, was_running)
        failed = frozenset(item.sequence.id for i, item in enumerate(scheduled) if i == failing)
        chosen = {item.sequence.id: token for item, token in zip(scheduled, tokens, strict=False)}
        caught_up = [item.sequence.id for item in scheduled if item.catches_up]
        for output in self.engine.finish(scheduled, chosen.__getitem__, failed):
            if output.id in caught_up and output.id not in failed and output.tokens:
                self.sampled[output.id].append(chosen[output.id])
            self.outputs[output.id].append(output)
        assert all(self.sequences[number].finish_reason is FinishReason.FAILED for number in failed)

    def check_schedule(self, scheduled: list[ScheduledSequence], was_running: list[Sequence]) -> None:
        sequences = [item.sequence for item in scheduled]
        assert len(set(sequences)) == len(sequences) <= RUNNING
        assert all(sequence.status is SequenceStatus.RUNNING for sequence in sequences)
        assert sum(item.length for item in scheduled) <= BUDGET
        for item in scheduled:
            assert item.length > 0 and item.start == item.sequence.num_computed
            assert len(item.sequence.block_table) * 2 >= item.start + item.length
        decoding = [sequence.is_decoding for sequence in sequences]
        assert decoding == sorted(decoding, reverse=True), "a prompt before a decode"
        if any(decoding):
            assert sum(item.length for item in scheduled if not item.sequence.is_decoding) <= CHUNK
        if self.engine.scheduler.preemptions:
            assert set(sequences) <= set(was_running), "one was admitted while another gave way"
        for sequence in was_running:
            if sequence.is_decoding and sequence.status is SequenceStatus.RUNNING:
                assert sequence in sequences, "a decode was left out"
        assert scheduled or not self.engine.scheduler.num_running + self.engine.scheduler.num_waiting, (
            "no progress"
        )

    @invariant()
    def outputs_agree_with_what_was_sampled(self) -> None:
        for number, outputs in self.outputs.items():
            sequence = self.sequences[number]
            assert [token for output in outputs for token in output.tokens] == self.sampled[number]
            ends = [output.finish_reason for output in outputs if output.finish_reason is not None]
            assert len(ends) <= 1 and (not ends or outputs[-1].finish_reason is ends[0])
            assert sum(bool(output.cached_tokens) for output in outputs) <= 1
            if ends == [FinishReason.EXPIRED]:
                assert not self.sampled[number]
            if ends == [FinishReason.STOP] and sequence.tree:
                assert len(outputs[-1].label_scores) == len(sequence.request.labels)

    def teardown(self) -> None:
        for _ in range(500):
            if not self.engine.scheduler.has_work:
                break
            self.step([3] * RUNNING)
        assert not self.engine.scheduler.has_work
        assert self.engine.scheduler.blocks.num_used == 0
        assert all(outputs and outputs[-1].finish_reason is not None for outputs in self.outputs.values())
        self.outputs_agree_with_what_was_sampled()


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
