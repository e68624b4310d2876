"""AnswerStore: the longest known context, its likeliest follower, and walks without a search."""

import random
from collections import Counter

import numpy
import pytest

from app.engine.core.answer_store import LONGEST, SHORTEST, AnswerStore

END = 2


def walk(store: AnswerStore, tokens: list[int], count: int) -> list[int]:
    node, found = store.find(tokens), list[int]()
    while node >= 0 and len(found) < count:
        token, confidence, node = store.follow(node)
        if confidence == 0.0:
            break
        found.append(token)
    return found


def test_a_known_answer_is_followed_to_its_end() -> None:
    store = AnswerStore([10, 11, 12, 13, 14, 15, 16, END, 20, 21, 22, 23, 24, END])
    assert walk(store, [99, 10, 11], 6) == [12, 13, 14, 15, 16, END]
    assert walk(store, [21, 22], 3) == [23, 24, END]


@pytest.mark.parametrize("tokens", [[], [10], [11, 10], [99, 98], [10, 99]])
def test_an_unknown_context_is_nowhere(tokens: list[int]) -> None:
    assert AnswerStore([10, 11, 12, 13, 14, 15, END]).find(tokens) == -1


@pytest.mark.parametrize("tokens", [[], [5], [5, 6, 7]])
def test_too_little_to_know(tokens: list[int]) -> None:
    store = AnswerStore(tokens)
    assert len(store) == 0 and store.find([5, 6]) == -1


def test_the_likeliest_follower_and_the_confidence_in_it() -> None:
    store = AnswerStore([5, 6, 7, END, 5, 6, 7, END, 5, 6, 8, END])
    token, confidence, _ = store.follow(store.find([5, 6]))
    assert (token, confidence) == (7, pytest.approx(2 / 4))


def test_against_a_plain_count() -> None:
    chooser = random.Random(4)
    tokens = [chooser.randrange(6) for _ in range(3000)]
    store = AnswerStore(numpy.array(tokens, dtype=numpy.int32))
    for _ in range(300):
        context = [chooser.randrange(6) for _ in range(7)]
        for length in range(LONGEST, SHORTEST - 1, -1):
            ends = [
                end
                for end in range(length, len(tokens) + 1)
                if tokens[end - length : end] == context[-length:]
            ]
            if ends:
                break
        counts = Counter(tokens[end] for end in ends if end < len(tokens))
        token, confidence, reached = store.follow(store.find(context))
        if not counts:
            assert confidence == 0.0
            continue
        assert counts[token] == max(counts.values())
        assert confidence == pytest.approx(counts[token] / (sum(counts.values()) + 1))
        # The node that is reached knows the token as the last one of its context.
        assert store.find([*context, token]) == reached or len(counts) > 1 or length < LONGEST
