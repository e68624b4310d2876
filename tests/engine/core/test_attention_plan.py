"""AttentionPlan: where K and V go, and what each query may see."""

import torch

from app.engine.core.attention_plan import AttentionPlan
from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence
from app.engine.messages import AddRequest

BLOCK = 4


def chat(length: int, table: list[int], generated: int = 0) -> Sequence:
    sequence = Sequence.of(AddRequest(id=table[0], prompt=list(range(50, 50 + length))), 0.0)
    sequence.tokens += [90] * generated
    sequence.block_table = table
    return sequence


def decision(length: int, labels: list[list[int]], table: list[int]) -> Sequence:
    sequence = Sequence.of(AddRequest(id=table[0], prompt=list(range(50, 50 + length)), labels=labels), 0.0)
    sequence.block_table = table
    return sequence


def plan_of(*scheduled: ScheduledSequence) -> AttentionPlan:
    return AttentionPlan.of(list(scheduled), BLOCK, torch.device("cpu"))


def visible_to(plan: AttentionPlan, group: int, query: int) -> list[int]:
    """Indices of the cached tokens that a query of a chunk sees."""
    return plan.groups[group].visible[0, query].nonzero().flatten().tolist()


def test_tokens_go_to_the_slots_of_their_own_blocks() -> None:
    plan = plan_of(ScheduledSequence(chat(6, [3, 5]), 4, 2), ScheduledSequence(chat(9, [1, 2, 7]), 0, 5))
    assert plan.slots.tolist() == [20, 21, 4, 5, 6, 7, 8]


def test_decodes_share_a_group_and_chunks_have_their_own() -> None:
    plan = plan_of(
        ScheduledSequence(chat(6, [3, 5], generated=1), 6, 1),
        ScheduledSequence(chat(2, [4], generated=1), 2, 1),
        ScheduledSequence(chat(5, [6, 7]), 0, 5),
    )
    assert [(group.rows, group.batch) for group in plan.groups] == [(slice(0, 2), 2), (slice(2, 7), 1)]
    assert plan.groups[0].positions.tolist() == [[6], [2]]


def test_a_short_context_is_padded_with_its_own_block_and_does_not_see_it() -> None:
    plan = plan_of(
        ScheduledSequence(chat(10, [3, 5, 8], generated=1), 10, 1),
        ScheduledSequence(chat(2, [4], generated=1), 2, 1),
    )
    (group,) = plan.groups
    assert group.blocks.tolist() == [[3, 5, 8], [4, 4, 4]]
    assert group.visible.sum(-1).tolist() == [[11], [3]]
    assert group.visible[1, 0, :3].all()


def test_a_chunk_sees_the_past_and_itself() -> None:
    plan = plan_of(ScheduledSequence(chat(7, [3, 5]), 4, 3))
    assert [visible_to(plan, 0, query) for query in range(3)] == [
        list(range(5)),
        list(range(6)),
        list(range(7)),
    ]


def test_branches_of_a_decision_do_not_see_one_another() -> None:
    plan = plan_of(ScheduledSequence(decision(3, [[5, 6, 2], [7, 2]], [3, 5]), 0, 6))
    assert visible_to(plan, 0, 4) == [0, 1, 2, 3, 4]
    assert visible_to(plan, 0, 5) == [0, 1, 2, 5]
    distance = plan.groups[0].distance
    assert distance is not None
    assert distance[0, 5, [0, 1, 2, 5]].tolist() == [3, 2, 1, 0]
