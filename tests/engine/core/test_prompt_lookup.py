"""PromptLookup: the last place where the last tokens stood before."""

import random

from app.engine.core.prompt_lookup import WINDOW, PromptLookup, match_length


def plainly(tokens: list[int]) -> int:
    last = tokens[-WINDOW:]
    places = [end for end in range(WINDOW, len(tokens)) if tokens[end - WINDOW : end] == last]
    return places[-1] if places else -1


def test_against_a_plain_search_whenever_it_is_asked() -> None:
    chooser = random.Random(2)
    for _ in range(50):
        lookup, tokens = PromptLookup(), [chooser.randrange(1, 4) for _ in range(WINDOW)]
        for _ in range(60):
            tokens += [chooser.randrange(1, 4) for _ in range(chooser.randrange(1, 5))]
            assert lookup.find(tokens) == plainly(tokens)


def test_large_token_ids_do_not_meet() -> None:
    lookup = PromptLookup()
    assert lookup.find([1 << 20, 3, 4, 9, (1 << 20) + 1, 3, 4]) == -1


def test_how_much_is_equal() -> None:
    tokens = [9, 5, 6, 7, 1, 8, 5, 6, 7]
    assert match_length(tokens, 4) == 3
    assert match_length([5] * 99, 50) == 16
