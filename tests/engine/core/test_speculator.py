"""Speculator: what it drafts, how long, and when it leaves a sequence alone. Costs are made up."""

import random
from typing import Any

import pytest

from app.engine.core.ahead import Draft, Fate
from app.engine.core.answer_store import AnswerStore
from app.engine.core.sequence import Sequence
from app.engine.core.speculator import LONGEST_DRAFT, Speculator
from app.engine.core.step_cost import StepCost
from app.engine.messages import AddRequest, SamplingParams

END = 2
ANSWER = list(range(100, 140))
ANSWERS = AnswerStore([*ANSWER, END] * 20)
NOTHING = AnswerStore([])


class Costs:
    """A step's cost in place of the measured one."""

    def __init__(self, base: float, row: float, around: float = 0.0) -> None:
        self.base, self.row, self.seconds_around = base, row, around

    def of(self, sequences: int, tokens: int, *, burst: bool) -> tuple[float, float]:
        return self.base, self.row

    def around(self, sequences: int, *, burst: bool) -> float:
        return self.seconds_around


def speculator(
    answers: AnswerStore = ANSWERS, base: float = 1.0, row: float = 0.01, around: float = 0.0
) -> Speculator:
    return Speculator(answers, frozenset([END]), 500, Costs(base, row, around))  # type: ignore[arg-type]


def saying(*tokens: int, number: int = 1, **sampling: Any) -> Sequence:
    """A sequence that has said `tokens`."""
    values = {"max_tokens": 1000} | sampling
    sequence = Sequence.of(AddRequest(id=number, prompt=[5, 6], sampling=SamplingParams(**values)), 0.0)
    sequence.tokens += tokens
    return sequence


def draft(made: Speculator, sequence: Sequence, room: int = 500) -> list[int]:
    """The tokens that one step would compute."""
    return list(made.drafts([sequence], room, 0).get(sequence.id, Draft()).first)


def note(made: Speculator, sequence: Sequence, found: list[int], right: int) -> None:
    """So many tokens of a draft were right."""
    made.verified(sequence, Fate(len(found), right, min(right + 1, len(found)), right))


def test_a_known_answer_is_drafted_and_followed() -> None:
    made, sequence = speculator(), saying(100, 101)
    first = draft(made, sequence)
    assert first == ANSWER[2 : 2 + len(first)] and len(first) > 4
    note(made, sequence, first, len(first))
    sequence.tokens += [*first, ANSWER[2 + len(first)]]
    second = draft(made, sequence)
    assert second == ANSWER[3 + len(first) :][: len(second)] and second


def test_a_sequence_that_repeats_itself_is_drafted_even_into_the_draft() -> None:
    sequence = saying(*[7, 8, 9] * 3)
    found = draft(speculator(NOTHING), sequence)
    assert found == ([7, 8, 9] * 9)[: len(found)] and len(found) > 9


def test_nothing_known_drafts_nothing() -> None:
    assert draft(speculator(), saying(*range(20, 60))) == []


def test_nothing_is_drafted_behind_an_end() -> None:
    assert draft(speculator(row=0.0), saying(*ANSWER[-4:-1]))[-1:] == [END]
    assert len(draft(speculator(row=0.0), saying(*ANSWER[-4:-1]))) == 2


@pytest.mark.parametrize(
    ("room", "sampling", "longest"),
    [
        (500, {}, LONGEST_DRAFT),
        (3, {}, 3),
        (0, {}, 0),
        (500, {"max_tokens": 7}, 4),
        (500, {"max_tokens": 3}, 0),
    ],
)
def test_no_longer_than_could_be_kept(room: int, sampling: dict[str, int], longest: int) -> None:
    assert len(draft(speculator(row=0.0), saying(100, 101, **sampling), room)) == longest


def test_no_longer_than_the_context() -> None:
    sequence = saying(*[7, 8, 9] * 165)
    assert len(sequence.tokens) == 497
    assert len(draft(speculator(NOTHING, row=0.0), sequence)) == 2


def test_dearer_rows_make_shorter_drafts_and_then_none() -> None:
    lengths = [len(draft(speculator(row=row), saying(100, 101))) for row in (0.0, 0.1, 0.4, 0.8, 1.0)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == LONGEST_DRAFT and lengths[2] < LONGEST_DRAFT and lengths[-1] == 0


def test_nothing_is_drafted_under_load() -> None:
    sequences = [saying(100, 101, number=number) for number in range(8)]
    assert speculator(base=1.0, row=0.05).drafts(sequences, 500, 0)
    assert not speculator(base=1.0, row=0.12).drafts(sequences, 500, 0)


def test_nothing_is_drafted_before_a_step_was_measured() -> None:
    cost = StepCost()
    made = Speculator(ANSWERS, frozenset([END]), 500, cost)
    sequence = saying(100, 101)
    assert draft(made, sequence) == []
    cost.measured(1, 0, 0, 1.0, burst=False)
    assert not made.drafts([sequence], 500, 16)  # a burst's cost is another
    assert draft(made, sequence)


def misled(made: Speculator, steps: int, number: int = 1) -> list[int]:
    """Lengths of the drafts for a sequence that says the beginnings of the known answer and never goes on."""
    sequence = saying(100, 101, number=number, max_tokens=100_000)
    lengths = []
    for step in range(steps):
        found = draft(made, sequence)
        lengths.append(len(found))
        if found:
            note(made, sequence, found, 0)
        sequence.tokens += [100, 101] if step % 2 else [20 + step % 7]
    return lengths


def test_drafts_that_fail_end_for_longer_and_longer() -> None:
    made = Speculator(ANSWERS, frozenset([END]), 1_000_000, Costs(1.0, 0.2))  # type: ignore[arg-type]
    lengths = misled(made, 1200)
    assert sum(lengths[:40]) > 0
    assert sum(lengths) * 0.2 < 0.05 * len(lengths), "it costs more than 5 %"
    assert sum(lengths[600:]) < sum(lengths[:600])


def test_what_failed_elsewhere_is_trusted_less() -> None:
    made = speculator(row=0.2)
    before = len(draft(made, saying(100, 101, number=50)))
    for number in range(12):
        misled(made, 40, number)
    assert len(draft(made, saying(100, 101, number=51))) < before


def test_it_comes_back_when_the_text_is_known_again() -> None:
    made = Speculator(ANSWERS, frozenset([END]), 1_000_000, Costs(1.0, 0.05))  # type: ignore[arg-type]
    sequence = saying(*[random.Random(1).randrange(20, 99) for _ in range(40)], max_tokens=100_000)
    for step in range(300):
        draft(made, sequence)
        sequence.tokens.append(20 + step * 31 % 77)
    sequence.tokens += ANSWER[:3]
    place, steps = 3, 0
    while steps < 300:  # the answer over and over
        found = draft(made, sequence)
        right = 0
        while right < len(found) and found[right] == ANSWER[(place + right) % len(ANSWER)]:
            right += 1
        if found:
            note(made, sequence, found, right)
        sequence.tokens += [ANSWER[(place + index) % len(ANSWER)] for index in range(right + 1)]
        place += right + 1
        steps += 1
    assert place > 3 * steps


def test_an_ended_sequence_is_forgotten() -> None:
    made, sequence = speculator(), saying(100, 101)
    draft(made, sequence)
    made.forget(sequence)
    made.forget(sequence)
    assert not made._positions


def test_a_draft_goes_on_over_several_rounds() -> None:
    """Each width is followed by one token that the round itself brings."""
    made, sequence = speculator(row=0.3), saying(100, 101)
    draft = made.drafts([sequence], 500, 16)[sequence.id]
    assert len(draft.widths) > 1 and max(draft.widths) == draft.widths[0]
    assert list(draft.tokens) == ANSWER[2 : 2 + len(draft.tokens)]
    assert (
        sum(draft.widths) + len(draft.widths) - 1
        <= len(draft.tokens)
        <= sum(draft.widths) + len(draft.widths)
    )


def test_a_draft_must_pay_for_the_step_that_it_needs() -> None:
    """Beside it, a step of sixteen rounds pays once for what is around them."""
    for around, drafted in ((0.0, True), (100.0, False)):
        made, sequence = speculator(row=0.3, around=around), saying(100, 101)
        assert bool(made.drafts([sequence], 500, 16)) == drafted
    assert speculator(row=0.3, around=100.0).drafts([saying(100, 101)], 500, 0)  # else each token is a step


def test_a_draft_that_does_not_pay_leaves_its_room_to_others() -> None:
    """Rows are cheap here, but the step is dear, and half of what sequences repeat of themselves never comes true."""
    made = speculator(row=0.001, around=1.0)
    made._records["prompt"].note(500, 1000, keep=1.0)
    repeating, known, other = saying(*[7, 8, 9] * 3), saying(100, 101, number=2), saying(50, number=3)
    alone = made.drafts([other, known], 10, 16)
    assert len(alone[2].first) > 6
    assert made.drafts([repeating, known], 10, 16) == alone


def test_it_is_looked_again_only_as_often_as_that_is_cheap() -> None:
    sequence = saying(*range(20, 60))
    rounds = {}
    for around in (0.0, 0.1, 1.0, 100.0):
        made = speculator(around=around)
        assert not made.drafts([sequence], 500, 16)
        rounds[around] = made.look_again(1, 16)
        cost, least = rounds[around] + around, 16 + around
        assert cost / rounds[around] <= 1.03 * least / 16
    assert rounds[0.0] == 1 and rounds[0.0] < rounds[0.1] < rounds[1.0] <= 16
    resting = speculator(base=1.0, row=2.0)  # drafts never pay, so nobody looks
    assert not resting.drafts([sequence], 500, 16)
    assert resting.look_again(1, 16) == 16
