"""Batch: which logits are wanted, where tokens lie and stand, and what each query may see."""

import torch

from app.engine.core.batch import Batch
from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence
from app.engine.messages import AddRequest

BLOCK = 4
CPU = torch.device("cpu")


def chat(length: int, table: list[int], generated: int = 0) -> Sequence:
    sequence = Sequence.of(AddRequest(id=table[0], prompt=list(range(50, 50 + length))), 0.0)
    sequence.tokens += [90] * generated
    sequence.block_table = table
    return sequence


def decision(length: int, labels: list[list[int]], table: list[int]) -> Sequence:
    sequence = Sequence.of(AddRequest(id=table[0], prompt=list(range(50, 50 + length)), labels=labels), 0.0)
    sequence.block_table = table
    return sequence


def batch_of(*scheduled: ScheduledSequence) -> Batch:
    return Batch.of(list(scheduled), BLOCK, CPU)


def visible_to(batch: Batch, group: int, query: int) -> list[int]:
    """Indices of the cached tokens that a query of a chunk sees."""
    return batch.plan.groups[group].visible[0, query].nonzero().flatten().tolist()


def test_only_the_last_token_of_one_that_catches_up_is_wanted() -> None:
    ready, unready = chat(6, [3, 5]), chat(9, [1, 2, 7])
    batch = batch_of(ScheduledSequence(ready, 4, 2), ScheduledSequence(unready, 0, 5))
    assert batch.wanted.tolist() == [1]
    assert batch.owners == [(0, 5)]
    assert batch.input_ids.tolist() == [[54, 55, 50, 51, 52, 53, 54]]
    assert batch.positions.tolist() == [[4, 5, 0, 1, 2, 3, 4]]
    assert batch.plan.slots.tolist() == [20, 21, 4, 5, 6, 7, 8]


def test_decodes_share_a_group_and_chunks_have_their_own() -> None:
    batch = batch_of(
        ScheduledSequence(chat(6, [3, 5], generated=1), 6, 1),
        ScheduledSequence(chat(2, [4], generated=1), 2, 1),
        ScheduledSequence(chat(5, [6, 7]), 0, 5),
    )
    assert [(group.rows, group.batch) for group in batch.plan.groups] == [(slice(0, 2), 2), (slice(2, 7), 1)]
    assert batch.plan.groups[0].positions.tolist() == [[6], [2]]


def test_a_short_context_is_padded_with_its_own_block_and_does_not_see_it() -> None:
    batch = batch_of(
        ScheduledSequence(chat(10, [3, 5, 8], generated=1), 10, 1),
        ScheduledSequence(chat(2, [4], generated=1), 2, 1),
    )
    (group,) = batch.plan.groups
    assert group.blocks.tolist() == [[3, 5, 8], [4, 4, 4]]
    assert group.visible.sum(-1).tolist() == [[11], [3]]
    assert group.visible[1, 0, :3].all()


def test_a_chunk_sees_the_past_and_itself() -> None:
    batch = batch_of(ScheduledSequence(chat(7, [3, 5]), 4, 3))
    assert [visible_to(batch, 0, query) for query in range(3)] == [
        list(range(5)),
        list(range(6)),
        list(range(7)),
    ]


def test_branches_of_a_decision_do_not_see_one_another_and_each_follows_the_prompt() -> None:
    item = decision(3, [[5, 6, 2], [7, 2]], [3, 5])
    batch = batch_of(ScheduledSequence(item, 0, 6))
    assert batch.input_ids.tolist() == [[50, 51, 52, 5, 6, 7]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3]]
    assert batch.owners == [(0, 2), (0, 3), (0, 4), (0, 5)]
    assert visible_to(batch, 0, 4) == [0, 1, 2, 3, 4]
    assert visible_to(batch, 0, 5) == [0, 1, 2, 5]
    distance = batch.plan.groups[0].distance
    assert distance is not None
    assert distance[0, 5, [0, 1, 2, 5]].tolist() == [3, 2, 1, 0]


def test_a_decision_in_chunks_wants_the_same_rows() -> None:
    item = decision(3, [[5, 6, 2], [7, 2]], [3, 5])
    parts = [ScheduledSequence(item, 0, 2), ScheduledSequence(item, 2, 2), ScheduledSequence(item, 4, 2)]
    assert [batch_of(part).owners for part in parts] == [[], [(0, 2), (0, 3)], [(0, 4), (0, 5)]]
