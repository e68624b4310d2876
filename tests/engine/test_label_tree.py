"""LabelTree: every label can be read off its branch, and labels share what they have in common."""

from random import Random

import hypothesis.strategies as st
from hypothesis import given

from app.engine.label_tree import LabelTree, build_label_tree

LABELS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=12)


def seen_by(tree: LabelTree, prompt_length: int, row: int) -> list[int]:
    """The branch tokens that row `row` attends to, its own included."""
    if row < prompt_length:
        return []
    start = max(start for start in tree.starts if start <= row)
    return tree.tokens[start - prompt_length : row + 1 - prompt_length]


@given(prompt_length=st.integers(1, 9), labels=LABELS)
def test_each_cell_of_a_readout_is_predicted_by_the_label_before_it(
    prompt_length: int, labels: list[list[int]]
) -> None:
    tree = build_label_tree(prompt_length, labels)
    for label, readout in zip(labels, tree.readouts, strict=True):
        assert [token for _, token in readout] == label
        assert readout[0][0] == prompt_length - 1
        for count, (row, _) in enumerate(readout):
            assert seen_by(tree, prompt_length, row) == label[:count]


@given(labels=LABELS)
def test_no_branch_begins_another(labels: list[list[int]]) -> None:
    tree = build_label_tree(1, labels)
    branches = [
        tree.tokens[start - 1 : end - 1] for start, end in zip(tree.starts, tree.starts[1:], strict=False)
    ]
    assert tree.starts[-1] == 1 + len(tree.tokens)
    for one in branches:
        assert sum(other[: len(one)] == one for other in branches) == 1


def test_labels_of_one_token_need_no_branch() -> None:
    assert build_label_tree(5, [[1], [2]]) == LabelTree([], [5], [[(4, 1)], [(4, 2)]])


def test_a_label_that_begins_another_shares_its_branch() -> None:
    tree = build_label_tree(5, [[1, 2], [1, 3, 9], [1, 3, 4, 9]])
    assert tree.tokens == [1, 3, 4]
    assert tree.readouts == [
        [(4, 1), (5, 2)],
        [(4, 1), (5, 3), (6, 9)],
        [(4, 1), (5, 3), (6, 4), (7, 9)],
    ]


@given(labels=LABELS, order=st.randoms(use_true_random=False))
def test_the_order_of_the_labels_changes_nothing_but_the_order_of_the_readouts(
    labels: list[list[int]], order: Random
) -> None:
    shuffled = list(labels)
    order.shuffle(shuffled)
    one, other = build_label_tree(3, labels), build_label_tree(3, shuffled)
    assert (one.tokens, one.starts) == (other.tokens, other.starts)
    assert sorted(one.readouts) == sorted(other.readouts)
