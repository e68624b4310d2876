"""LabelTree: the label tokens of one decision, laid behind its prompt so that one forward pass scores them all."""

from dataclasses import dataclass
from functools import lru_cache

_TREES_KEPT = 32
"""Trees that are kept: clients ask with the same labels again and again, and few large trees fill megabytes."""


@dataclass(frozen=True, slots=True)
class LabelTree:
    """Branches that share the prompt and do not see one another; all indices count from the prompt's end.

    The sequence of a decision is `prompt + branch 0 + branch 1 + ...`. A branch is a label without its last token;
    a label that begins another one, or equals it up to the last token, needs no branch of its own.

    A tree is shared by all decisions with its labels, so nobody may change its lists.

    Attributes:
        tokens: tokens of all branches, one after the other.
        starts: index at which each branch begins, then the number of tokens.
        start_of: for each token, the index at which its branch begins.
        rows, predicted: the pairs of a row (-1 is the prompt's last) and a token after it whose log-probability some
            label needs; each pair once, in the order of the rows.
        readouts: for each label, the pairs of its tokens, as indices of `rows`.
    """

    tokens: list[int]
    starts: list[int]
    start_of: list[int]
    rows: list[int]
    predicted: list[int]
    readouts: list[list[int]]


def build_label_tree(labels: list[list[int]]) -> LabelTree:
    """Lay out the branches of `labels`; a tree that was built lately is returned again."""
    return _build(tuple(map(tuple, labels)))


@lru_cache(maxsize=_TREES_KEPT)
def _build(labels: tuple[tuple[int, ...], ...]) -> LabelTree:
    """Labels are sorted so that a branch that is a prefix of another stands right before it and can be dropped."""
    stems = sorted({label[:-1] for label in labels})
    branches = [
        stem
        for stem, following in zip(stems, [*stems[1:], ()], strict=True)
        if stem and following[: len(stem)] != stem
    ]
    tokens = list[int]()
    starts = [0]
    start_of = list[int]()
    branch_of: dict[tuple[int, ...], int] = {}
    for branch in branches:
        for length in range(1, len(branch) + 1):
            branch_of.setdefault(branch[:length], starts[-1])
        start_of += [starts[-1]] * len(branch)
        tokens += branch
        starts.append(len(tokens))
    paths = [_path(label, branch_of.get(label[:-1], 0)) for label in labels]
    pairs = sorted({pair for path in paths for pair in path})
    number = {pair: index for index, pair in enumerate(pairs)}
    return LabelTree(
        tokens,
        starts,
        start_of,
        [row for row, _ in pairs],
        [token for _, token in pairs],
        [[number[pair] for pair in path] for path in paths],
    )


def _path(label: tuple[int, ...], start: int) -> list[tuple[int, int]]:
    """The row before each token of a label whose branch begins at `start`, with the token."""
    return list(zip([-1, *range(start, start + len(label) - 1)], label, strict=True))
