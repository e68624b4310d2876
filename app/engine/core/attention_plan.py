"""AttentionPlan: where a step's K and V go, and which cached tokens each of its queries sees, as tensors."""

from dataclasses import dataclass

import torch

from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence


@dataclass(frozen=True, slots=True)
class AttentionGroup:
    """Queries of the step that are attended in one call.

    Attributes:
        rows: the group's rows in the packed step, a slice where they are contiguous.
        batch: sequences in the group; each has `rows / batch` queries.
        blocks: (batch, n) blocks that hold their contexts, padded with the sequence's own first one.
        positions: (batch, queries) index of each query in its sequence's cache.
        visible: (batch, queries, n * block_size) cached tokens that each query may see (padding is not).
        distance: (batch, queries, n * block_size) how many positions each cached token lies behind the query;
            None when positions and cache indices are the same (everything but a decision's branches).
    """

    rows: slice
    batch: int
    blocks: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    distance: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """What `attention.py` needs of a step; travels through the model's forward as a keyword argument.

    Attributes:
        slots: (tokens,) slot of the KV cache for each token of the step.
        groups: the queries, partitioned.
    """

    slots: torch.Tensor
    groups: list[AttentionGroup]

    @classmethod
    def of(cls, scheduled: list[ScheduledSequence], block_size: int, device: torch.device) -> "AttentionPlan":
        """Plan `scheduled`, whose blocks are already allocated."""
        slots = [slot for item in scheduled for slot in _slots(item, block_size)]
        return cls(torch.tensor(slots, device=device), _groups(scheduled, block_size, device))


def _slots(item: ScheduledSequence, block_size: int) -> list[int]:
    table = item.sequence.block_table
    indices = range(item.start, item.start + item.length)
    return [table[index // block_size] * block_size + index % block_size for index in indices]


def _groups(
    scheduled: list[ScheduledSequence], block_size: int, device: torch.device
) -> list[AttentionGroup]:
    """All single queries in one padded group; each longer chunk in a group of its own."""
    decodes = 0
    while (
        decodes < len(scheduled) and scheduled[decodes].length == 1 and not scheduled[decodes].sequence.tree
    ):
        decodes += 1
    groups = [_decode_group(scheduled[:decodes], block_size, device)] if decodes else []
    row = decodes
    for item in scheduled[decodes:]:
        groups.append(_chunk_group(item, row, block_size, device))
        row += item.length
    return groups


def _decode_group(
    scheduled: list[ScheduledSequence], block_size: int, device: torch.device
) -> AttentionGroup:
    lengths = torch.tensor([item.start + 1 for item in scheduled], device=device)
    counts = [-(-(item.start + 1) // block_size) for item in scheduled]
    widest = max(counts)
    tables = [
        item.sequence.block_table[:count] + item.sequence.block_table[:1] * (widest - count)
        for item, count in zip(scheduled, counts, strict=True)
    ]
    cached = torch.arange(widest * block_size, device=device)
    return AttentionGroup(
        slice(0, len(scheduled)),
        len(scheduled),
        torch.tensor(tables, device=device),
        (lengths - 1)[:, None],
        (cached < lengths[:, None])[:, None, :],
        None,
    )


def _chunk_group(item: ScheduledSequence, row: int, block_size: int, device: torch.device) -> AttentionGroup:
    end = item.start + item.length
    count = -(-end // block_size)
    queries = torch.arange(item.start, end, device=device)
    cached = torch.arange(count * block_size, device=device)
    visible = cached <= queries[:, None]  # (queries, cached)
    distance = None
    if item.sequence.tree and end > item.sequence.prompt_length:
        visible &= _same_branch(item.sequence, queries, cached)
        distance = _positions_of(item.sequence, queries)[:, None] - _positions_of(item.sequence, cached)
    return AttentionGroup(
        slice(row, row + item.length),
        1,
        torch.tensor([item.sequence.block_table[:count]], device=device),
        queries[None],
        visible[None],
        None if distance is None else distance[None],
    )


def _same_branch(sequence: Sequence, queries: torch.Tensor, cached: torch.Tensor) -> torch.Tensor:
    """(queries, cached): the cached token is in the prompt or in the query's own branch."""
    assert sequence.tree is not None
    starts = sequence.prompt_length + torch.tensor(sequence.tree.starts, device=queries.device)
    in_prompt = cached < sequence.prompt_length
    branch_of_query = torch.bucketize(queries, starts, right=True)
    branch_of_cached = torch.bucketize(cached, starts, right=True)
    return in_prompt | (branch_of_query[:, None] == branch_of_cached)


def _positions_of(sequence: Sequence, indices: torch.Tensor) -> torch.Tensor:
    """Positions of the tokens at `indices` of a decision's sequence: each branch goes on where the prompt ends."""
    assert sequence.tree is not None
    starts = sequence.prompt_length + torch.tensor(sequence.tree.starts, device=indices.device)
    branch = (torch.bucketize(indices, starts, right=True) - 1).clamp(min=0)
    in_branch = sequence.prompt_length + indices - starts[branch]
    return torch.where(indices < sequence.prompt_length, indices, in_branch)
