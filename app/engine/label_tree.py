"""LabelTree: the label tokens of one decision, laid behind its prompt so that one forward pass scores them all."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LabelTree:
    """Branches that share the prompt and do not see one another.

    The sequence of a decision is `prompt + branch 0 + branch 1 + ...`. A branch is a label without its last token;
    a label that begins another one, or equals it up to the last token, needs no branch of its own.

    Attributes:
        tokens: tokens of all branches, one after the other.
        starts: index in the sequence at which each branch begins, then the sequence's length.
        readouts: for each label, for each of its tokens, the pair (row that predicts it, token id).
    """

    tokens: list[int]
    starts: list[int]
    readouts: list[list[tuple[int, int]]]


def build_label_tree(prompt_length: int, labels: list[list[int]]) -> LabelTree:
    """Lay the branches of `labels` behind a prompt of `prompt_length` tokens.

    Labels are sorted so that a branch that is a prefix of another stands right before it and can be dropped.
    """
    stems = sorted({tuple(label[:-1]) for label in labels})
    branches = [
        stem
        for stem, following in zip(stems, [*stems[1:], ()], strict=True)
        if stem and following[: len(stem)] != stem
    ]
    tokens: list[int] = []
    starts = [prompt_length]
    start_of: dict[tuple[int, ...], int] = {}
    for branch in branches:
        for length in range(1, len(branch) + 1):
            start_of.setdefault(branch[:length], starts[-1])
        tokens.extend(branch)
        starts.append(prompt_length + len(tokens))
    readouts = [
        _readout(label, prompt_length, start_of.get(tuple(label[:-1]), prompt_length)) for label in labels
    ]
    return LabelTree(tokens, starts, readouts)


def _readout(label: list[int], prompt_length: int, start: int) -> list[tuple[int, int]]:
    rows = [prompt_length - 1, *range(start, start + len(label) - 1)]
    return list(zip(rows, label, strict=True))
