"""Batch: one step's scheduled sequences, packed: which tokens are computed and whose logits are wanted."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from app.engine.core.scheduler import ScheduledSequence
from app.engine.core.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Batch:
    """One step in a single row of tokens: decodes first, then everything else, in scheduled order.

    Attributes:
        scheduled: the sequences, in the order of their tokens.
        tokens: token ids.
        positions: the position of each token.
        wanted: the tokens, as indices of `tokens`, whose logits are needed.
        owners: (item, index in its sequence) of each wanted token.
    """

    scheduled: list[ScheduledSequence]
    tokens: list[int]
    positions: list[int]
    wanted: list[int]
    owners: list[tuple[int, int]]

    @classmethod
    def of(cls, scheduled: list[ScheduledSequence]) -> "Batch":
        """Pack `scheduled`."""
        tokens: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        owners: list[tuple[int, int]] = []
        for number, item in enumerate(scheduled):
            sequence, end = item.sequence, item.start + item.length
            for index in _wanted(item):
                wanted.append(len(tokens) + index - item.start)
                owners.append((number, index))
            tokens.extend(sequence.tokens[item.start : item.end])
            if item.draft:
                tokens.extend(item.draft)
            positions.extend(_positions(sequence, item.start, end))
        return cls(scheduled, tokens, positions, wanted, owners)


def branch_start(sequence: Sequence, index: int) -> int | None:
    """Index at which the branch of token `index` begins; None for a token that is in no branch."""
    if sequence.tree is None or index < sequence.prompt_length:
        return None
    starts = sequence.tree.starts
    return starts[bisect_right(starts, index) - 1]


def _wanted(item: ScheduledSequence) -> range:
    """Indices in the sequence whose logits this share of the step must give."""
    end = item.start + item.length
    if item.sequence.tree:
        return range(max(item.start, item.sequence.prompt_length - 1), end)
    return range(item.end - 1, end) if item.catches_up else range(0)


def _positions(sequence: Sequence, start: int, end: int) -> Iterable[int]:
    """Positions of the tokens [start, end): each branch of a decision goes on where the prompt ends."""
    if sequence.tree is None:
        return range(start, end)
    branches = ((index, branch_start(sequence, index)) for index in range(start, end))
    return (index if begin is None else sequence.prompt_length + index - begin for index, begin in branches)
