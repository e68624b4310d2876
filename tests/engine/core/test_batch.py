"""Batch: which tokens are computed, where they stand, and whose logits are wanted."""

from app.engine.core.batch import Batch
from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence
from app.engine.messages import AddRequest


def chat(length: int) -> Sequence:
    return Sequence.of(AddRequest(id=length, prompt=list(range(50, 50 + length))), 0.0)


def decision(length: int, labels: list[list[int]]) -> Sequence:
    prompt = list(range(50, 50 + length))
    return Sequence.of(AddRequest(id=length, prompt=prompt, labels=labels), 0.0)


def test_only_the_last_token_of_one_that_catches_up_is_wanted() -> None:
    batch = Batch.of([ScheduledSequence(chat(6), 4, 2), ScheduledSequence(chat(9), 0, 5)])
    assert batch.wanted == [1]
    assert batch.owners == [(0, 5)]
    assert batch.tokens == [54, 55, 50, 51, 52, 53, 54]
    assert batch.positions == [4, 5, 0, 1, 2, 3, 4]


def test_branches_of_a_decision_follow_the_prompt() -> None:
    batch = Batch.of([ScheduledSequence(decision(3, [[5, 6, 2], [7, 2]]), 0, 6)])
    assert batch.tokens == [50, 51, 52, 5, 6, 7]
    assert batch.positions == [0, 1, 2, 3, 4, 3]
    assert batch.owners == [(0, 2), (0, 3), (0, 4), (0, 5)]


def test_a_decision_in_chunks_wants_the_same_rows() -> None:
    item = decision(3, [[5, 6, 2], [7, 2]])
    parts = [ScheduledSequence(item, start, 2) for start in (0, 2, 4)]
    assert [Batch.of([part]).owners for part in parts] == [[], [(0, 2), (0, 3)], [(0, 4), (0, 5)]]
