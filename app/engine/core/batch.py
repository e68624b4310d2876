"""Batch: one step's scheduled sequences, packed: which tokens are computed and whose logits are wanted."""

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
            indices = _wanted(item)
            first = len(tokens) - item.start
            wanted.extend(range(first + indices.start, first + indices.stop))
            owners.extend([(number, index) for index in indices])
            tokens.extend(sequence.tokens[item.start : item.end])
            if item.draft:
                tokens.extend(item.draft)
            positions.extend(_positions(sequence, item.start, end))
        return cls(scheduled, tokens, positions, wanted, owners)


def _wanted(item: ScheduledSequence) -> range:
    """Indices in the sequence whose logits this share of the step must give."""
    end = item.start + item.length
    if item.sequence.tree:
        return range(max(item.start, item.sequence.prompt_length - 1), end)
    return range(item.end - 1, end) if item.catches_up else range(0)


def _positions(sequence: Sequence, start: int, end: int) -> Iterable[int]:
    """Positions of the tokens [start, end): each branch of a decision goes on where the prompt ends."""
    prompt = sequence.prompt_length
    if sequence.tree is None or end <= prompt:
        return range(start, end)
    behind = range(max(start, prompt) - prompt, end - prompt)
    starts = sequence.tree.start_of[behind.start : behind.stop]
    return [
        *range(start, prompt),
        *(prompt + index - begin for index, begin in zip(behind, starts, strict=True)),
    ]
