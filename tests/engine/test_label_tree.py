"""LabelTree: every label can be read off its branch, and labels share what they have in common."""

from random import Random

import hypothesis.strategies as st
from hypothesis import given

from app.engine.label_tree import LabelTree, build_label_tree

LABELS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=12)


def seen_by(tree: LabelTree, row: int) -> list[int]:
    """The branch tokens that row `row` attends to, its own included."""
    return tree.tokens[tree.start_of[row] : row + 1] if row >= 0 else []


def paths(tree: LabelTree) -> list[list[tuple[int, int]]]:
    """For each label, the pairs of a row and the token after it."""
    return [[(tree.rows[pair], tree.predicted[pair]) for pair in readout] for readout in tree.readouts]


@given(labels=LABELS)
def test_each_pair_of_a_readout_is_predicted_by_the_label_before_it(labels: list[list[int]]) -> None:
    tree = build_label_tree(labels)
    for label, path in zip(labels, paths(tree), strict=True):
        assert [token for _, token in path] == label
        assert path[0][0] == -1
        for count, (row, _) in enumerate(path):
            assert seen_by(tree, row) == label[:count]


@given(labels=LABELS)
def test_each_pair_stands_there_once_in_the_order_of_the_rows(labels: list[list[int]]) -> None:
    tree = build_label_tree(labels)
    pairs = list(zip(tree.rows, tree.predicted, strict=True))
    assert pairs == sorted(set(pairs))
    assert {number for readout in tree.readouts for number in readout} == set(range(len(pairs)))


@given(labels=LABELS)
def test_no_branch_begins_another(labels: list[list[int]]) -> None:
    tree = build_label_tree(labels)
    bounds = list(zip(tree.starts, tree.starts[1:], strict=False))
    branches = [tree.tokens[start:end] for start, end in bounds]
    assert tree.starts[-1] == len(tree.tokens)
    assert tree.start_of == [start for start, end in bounds for _ in range(start, end)]
    for one in branches:
        assert sum(other[: len(one)] == one for other in branches) == 1


def test_labels_of_one_token_need_no_branch() -> None:
    assert build_label_tree([[1], [2]]) == LabelTree([], [0], [], [-1, -1], [1, 2], [[0], [1]])


def test_a_label_that_begins_another_shares_its_branch() -> None:
    tree = build_label_tree([[1, 2], [1, 3, 9], [1, 3, 4, 9]])
    assert tree.tokens == [1, 3, 4]
    assert paths(tree) == [
        [(-1, 1), (0, 2)],
        [(-1, 1), (0, 3), (1, 9)],
        [(-1, 1), (0, 3), (1, 4), (2, 9)],
    ]


@given(labels=LABELS, order=st.randoms(use_true_random=False))
def test_the_order_of_the_labels_changes_nothing_but_the_order_of_the_readouts(
    labels: list[list[int]], order: Random
) -> None:
    shuffled = list(labels)
    order.shuffle(shuffled)
    one, other = build_label_tree(labels), build_label_tree(shuffled)
    assert (one.tokens, one.starts, one.rows) == (other.tokens, other.starts, other.rows)
    assert sorted(paths(one)) == sorted(paths(other))
