"""Scheduler with drafts under random requests, aborts and failures: what is said never depends on them."""

from collections.abc import Iterator

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.engine.core.ahead import Draft, Fate
from app.engine.core.batch import Batch
from app.engine.core.scheduler import ScheduledSequence, StepResult
from app.engine.core.sequence import Sequence, SequenceStatus
from app.engine.messages import FinishReason, SequenceOutput
from tests.engine.core.virtual_engine import EOS, VirtualEngine

BUDGET, BLOCK, LONGEST = 9, 2, 14


def says(tokens: list[int]) -> int:
    """A model: the next token is a function of those before it, and sometimes an end."""
    return 1 + (3 * tokens[-1] + 5 * tokens[-2] + len(tokens)) % 9 if len(tokens) > 1 else 4


def continuation(tokens: list[int]) -> Iterator[int]:
    tokens = list(tokens)
    while True:
        tokens.append(says(tokens))
        yield tokens[-1]


def whole_answer(sequence: Sequence) -> list[int]:
    """What the sequence says when nothing cuts it short."""
    sampling, answer = sequence.request.sampling, list[int]()
    for token in continuation(sequence.request.prompt):
        if token in sampling.stop_token_ids or (token == EOS and not sampling.ignore_eos):
            break
        answer.append(token)
        if len(answer) == sampling.max_tokens or sequence.prompt_length + len(answer) >= LONGEST:
            break
    return answer


class Script:
    """Drafts as the test wants them: so many right tokens, then wrong ones."""

    def __init__(self) -> None:
        self.right = self.wrong = 0
        self.verified_as: dict[int, int] = {}
        self.forgotten: list[int] = []

    def look_again(self, sequences: int, rounds: int) -> int:
        return rounds

    def drafts(self, sequences: list[Sequence], room: int, rounds: int) -> dict[int, Draft]:
        drafts = {}
        for sequence in sequences:
            assert sequence.is_decoding
            ahead = [
                token for token, _ in zip(continuation(sequence.tokens), range(self.right), strict=False)
            ]
            draft = (*ahead, *[0] * self.wrong)[:room]
            room -= len(draft)
            if draft:
                drafts[sequence.id] = Draft(draft, (len(draft),))
        return drafts

    def verified(self, sequence: Sequence, fate: Fate) -> None:
        self.verified_as[sequence.id] = fate.matched

    def forget(self, sequence: Sequence) -> None:
        self.forgotten.append(sequence.id)


def sampled(item: ScheduledSequence) -> StepResult:
    """What a sampler makes of the item: one token, and one more for each right token of the draft."""
    tokens, length = list(item.sequence.tokens), len(item.sequence.tokens)
    for foretold in (*item.draft, None):
        tokens.append(says(tokens))
        if tokens[-1] != foretold:
            break
    right = len(tokens) - length - 1
    fate = Fate(len(item.draft), right, min(right + 1, len(item.draft)), right)
    return StepResult(tokens[length:], fate=fate if item.draft else None)


class Drafting(RuleBasedStateMachine):
    """A cache that is soon full, so that drafts want blocks that others need."""

    def __init__(self) -> None:
        super().__init__()
        self.script = Script()
        self.engine = VirtualEngine(
            num_blocks=9,
            block_size=BLOCK,
            max_batch_tokens=BUDGET,
            prefill_chunk=4,
            max_running=3,
            max_model_len=LONGEST,
            speculation=self.script,
        )
        self.sequences: dict[int, Sequence] = {}
        self.outputs: dict[int, list[SequenceOutput]] = {}

    @rule(
        prompt=st.lists(st.integers(2, 3), min_size=1, max_size=9),
        max_tokens=st.integers(1, 12),
        ignore_eos=st.booleans(),
        stops=st.lists(st.integers(2, 9), max_size=1),
        timeout=st.none() | st.integers(3, 9).map(float),
    )
    def chat(
        self, prompt: list[int], max_tokens: int, ignore_eos: bool, stops: list[int], timeout: float | None
    ) -> None:
        number = len(self.sequences)
        self.outputs[number] = []
        self.sequences[number] = self.engine.add(
            number,
            prompt,
            max_tokens=max_tokens,
            ignore_eos=ignore_eos,
            stop_token_ids=stops,
            timeout=timeout,
        )

    @rule(number=st.integers(0, 20))
    def abort(self, number: int) -> None:
        self.engine.scheduler.abort(number)

    @rule()
    def wait(self) -> None:
        self.engine.now += 1

    @rule(right=st.integers(0, 6), wrong=st.integers(0, 3), failing=st.none() | st.integers(0, 2))
    def step(self, right: int, wrong: int, failing: int | None = None) -> None:
        self.script.right, self.script.wrong = right, wrong
        scheduled = self.engine.schedule()
        assert sum(item.length for item in scheduled) <= BUDGET
        batch = Batch.of(scheduled)
        assert len(batch.tokens) == len(batch.positions) == sum(item.length for item in scheduled)
        for item in scheduled:
            assert len(item.sequence.block_table) * BLOCK >= item.start + item.length
            if item.draft:
                assert all(other.sequence.is_decoding for other in scheduled), "a draft beside a prompt"
        results = [
            StepResult(failed=True)
            if number == failing
            else sampled(item)
            if item.catches_up
            else StepResult()
            for number, item in enumerate(scheduled)
        ]
        outputs = self.engine.scheduler.update(scheduled, results)
        self.engine.scheduler.check_invariants()
        drafts = [len(item.draft) for item, result in zip(scheduled, results, strict=True) if result.fate]
        assert self.engine.scheduler.drafted == sum(drafts)
        kept = 0
        for output in outputs:
            self.outputs[output.id].append(output)
        for item, result in zip(scheduled, results, strict=True):
            if item.draft and not result.failed:
                assert self.script.verified_as[item.sequence.id] == len(result.tokens) - 1
                kept += len(result.tokens) - 1
        assert self.engine.scheduler.accepted <= kept

    @invariant()
    def what_was_said_is_what_the_model_says(self) -> None:
        for number, outputs in self.outputs.items():
            sequence = self.sequences[number]
            said = [token for output in outputs for token in output.tokens]
            whole = whole_answer(sequence)
            assert said == whole[: len(said)] == sequence.tokens[sequence.prompt_length :]
            if sequence.finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
                assert said == whole or outputs[-1].finish_reason is None
            assert all(output.finish_reason is None for output in outputs[:-1])

    @invariant()
    def a_draft_leaves_nothing_behind(self) -> None:
        blocks = self.engine.scheduler.blocks
        for sequence in self.sequences.values():
            if sequence.status is not SequenceStatus.RUNNING:
                continue
            if sequence.is_decoding:
                assert len(sequence.block_table) <= -(-len(sequence.tokens) // BLOCK), "blocks for nothing"
            full = sequence.num_computed // BLOCK
            assert not any(block in blocks._hash_of for block in sequence.block_table[full:]), (
                "a block was published that no confirmed token fills"
            )
            fresh = Sequence.of(sequence.request, 0.0)
            fresh.tokens = list(sequence.tokens)
            for index, digest in enumerate(sequence.block_hashes):
                assert digest == blocks._hash(fresh, index)

    def teardown(self) -> None:
        for _ in range(300):
            if not self.engine.scheduler.has_work:
                break
            self.step(3, 1)
        assert not self.engine.scheduler.has_work
        assert self.engine.scheduler.blocks.num_used == 0
        assert sorted(self.script.forgotten) == sorted(self.sequences)
        self.what_was_said_is_what_the_model_says()


TestDrafting = Drafting.TestCase
TestDrafting.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def decoding(engine: VirtualEngine, number: int, **request: int) -> Sequence:
    """A sequence that has said one token."""
    sequence = engine.add(number, [2, 3, 2], ignore_eos=True, **request)
    scheduled = engine.schedule()
    engine.scheduler.update(
        scheduled, [sampled(item) if item.catches_up else StepResult() for item in scheduled]
    )
    return sequence


def test_several_tokens_come_in_one_step() -> None:
    script = Script()
    engine = VirtualEngine(speculation=script)
    sequence = decoding(engine, 1, max_tokens=20)
    script.right, script.wrong = 3, 2
    scheduled = engine.schedule()
    assert [(item.length, len(item.draft)) for item in scheduled] == [(6, 5)]
    (output,) = engine.scheduler.update(scheduled, [sampled(scheduled[0])])
    assert output.tokens == whole_answer(sequence)[1:5]
    assert sequence.num_computed == len(sequence.tokens) - 1
    assert (engine.scheduler.drafted, engine.scheduler.accepted) == (5, 3)


def test_a_draft_takes_no_block_from_another() -> None:
    script = Script()
    engine = VirtualEngine(num_blocks=4, block_size=2, max_model_len=8, speculation=script)
    first = decoding(engine, 1, max_tokens=4)
    second = decoding(engine, 2, max_tokens=4)
    script.right = 4
    scheduled = engine.schedule()
    assert {item.sequence for item in scheduled} == {first, second}
    assert engine.scheduler.preemptions == 0
    assert not any(item.draft for item in scheduled)


def test_nothing_is_drafted_beside_a_prompt() -> None:
    script = Script()
    script.right = 2
    engine = VirtualEngine(speculation=script)
    decoding(engine, 1, max_tokens=20)
    engine.add(2, [5] * 9)
    assert not any(item.draft for item in engine.schedule())
