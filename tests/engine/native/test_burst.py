"""Bursts of the native decoder: a sequence says what single steps say, whatever is foretold, whoever is beside it."""

import copy
import os
import random

import pytest

from app.engine.native.decoder import NativeDecoder, Speaker, WeightFormat
from tests.engine.native.test_decoder import MODELS, Cut, decoder, made, model, step, tokens, with_nan

NAME = "qwen2, some layers slide"
PROMPT, MOST = 20, 40
TABLES = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def prefill(native: NativeDecoder, number: int) -> list[int]:
    """The tokens of a sequence, all but the last with their K and V."""
    ids = tokens(NAME, number)[:PROMPT]
    step(native, [Cut(ids, TABLES[number], 0, PROMPT - 1)])
    return ids


def one_by_one(native: NativeDecoder, number: int, count: int = MOST) -> list[int]:
    """What the sequence says in steps of one row."""
    ids = prefill(native, number)
    for _ in range(count):
        (logits,) = step(native, [Cut(ids, TABLES[number], len(ids) - 1, len(ids))])
        ids.append(int(logits[0].argmax()))
    return ids[PROMPT:]


def speaker(ids: list[int], number: int, most: int = 8, **more: tuple[int, ...]) -> Speaker:
    return Speaker(ids[-1], len(ids) - 1, TABLES[number], most, [], **more)


@pytest.mark.parametrize("weights", WeightFormat)
@pytest.mark.parametrize("errors", [0.0, 0.3, 1.0])
def test_equal_to_single_steps(weights: WeightFormat, errors: float) -> None:
    native, chooser = decoder(NAME, weights), random.Random(2)
    expected = [one_by_one(native, number) for number in range(3)]
    many = [prefill(native, number) for number in range(3)]
    bursts = accepted = matched = 0
    while open_ := [number for number in range(3) if len(many[number]) < PROMPT + MOST]:
        speakers = []
        for number in open_:
            ahead = expected[number][len(many[number]) - PROMPT :][: chooser.randrange(20)]
            foretold = tuple(chooser.randrange(9) if chooser.random() < errors else token for token in ahead)
            widths = tuple(chooser.randrange(5) for _ in range(4))
            most = min(1 + chooser.randrange(12), PROMPT + MOST - len(many[number]))
            speakers.append(speaker(many[number], number, most, foretold=foretold, widths=widths))
        spoken, rounds = native.burst(speakers, 1 + chooser.randrange(9), 1 + chooser.randrange(3))
        assert rounds >= 1
        bursts += 1
        for number, one, spoke in zip(open_, speakers, spoken, strict=True):
            assert 1 <= len(spoke.tokens) <= one.most
            assert list(one.foretold[: spoke.matched]) == spoke.tokens[: spoke.matched]
            assert spoke.matched <= spoke.tested <= spoke.matched + 1
            assert spoke.accepted <= min(spoke.drafted, spoke.matched)
            many[number] += spoke.tokens
            accepted, matched = accepted + spoke.accepted, matched + spoke.matched
    assert [ids[PROMPT:] for ids in many] == expected
    assert bool(accepted) == bool(matched > 5) == (errors < 1.0)


def test_a_draft_is_followed_over_several_rounds() -> None:
    native = decoder(NAME)
    said = one_by_one(native, 0)
    ids = prefill(native, 0)
    (spoke,), rounds = native.burst(
        [speaker(ids, 0, 30, foretold=tuple(said[:11]), widths=(3, 0, 2, 9))], 16, 1
    )
    # 3 and one more, none and one more, 2 and one more, the last 3 and one more.
    assert (rounds, spoke.tokens) == (4, said[:12])
    assert (spoke.drafted, spoke.accepted, spoke.tested, spoke.matched) == (8, 8, 11, 11)


def test_wrong_drafts_end_the_burst_for_better_ones_to_be_found_unless_others_would_lose_it() -> None:
    native = decoder(NAME)
    said, others = one_by_one(native, 0), one_by_one(native, 1)
    foretold = (*said[:2], (said[2] + 1) % 9, *said[3:5])
    for count, ends in ((1, 1), (2, 16), (3, 16)):
        many = [speaker(prefill(native, 0), 0, 30, foretold=foretold, widths=(5,))]
        many += [speaker(prefill(native, number), number, 16) for number in range(1, count)]
        (spoke, *beside), rounds = native.burst(many, 16, 1)
        assert (rounds, spoke.tokens) == (ends, said[: 2 + ends])
        assert (spoke.drafted, spoke.accepted, spoke.tested, spoke.matched) == (5, 2, 3, 2)
        assert not beside or beside[0].tokens == others[:16]


def test_a_token_to_stop_at_is_the_last() -> None:
    native = decoder(NAME)
    said, others = one_by_one(native, 0), one_by_one(native, 1)
    ids, other = prefill(native, 0), prefill(native, 1)
    stop = said[5]
    stopping = Speaker(ids[-1], PROMPT - 1, TABLES[0], 20, [999, stop], tuple(said[:9]), (8,))
    (spoke, beside), _ = native.burst([stopping, speaker(other, 1, 20)], 12, 2)
    assert spoke.tokens == said[: said.index(stop) + 1]
    assert beside.tokens == others[: len(beside.tokens)]


def test_no_more_than_allowed_and_no_more_rounds() -> None:
    native = decoder(NAME)
    speakers = [speaker(prefill(native, number), number, most) for number, most in enumerate((1, 3, 20))]
    spoken, rounds = native.burst(speakers, 7, 1)
    assert rounds == 7
    assert [len(spoke.tokens) for spoke in spoken] == [1, 3, 7]


def test_it_ends_when_something_arrives() -> None:
    native = decoder(NAME)
    ids = prefill(native, 0)
    reader, writer = os.pipe()
    try:
        assert native.burst([speaker(ids, 0)], 5, 1, arrivals=reader)[1] == 5
        os.write(writer, b"x")
        (spoke,), rounds = native.burst([speaker(ids, 0)], 5, 1, arrivals=reader)
        assert (rounds, len(spoke.tokens)) == (1, 1)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_sequence_that_is_not_finite_says_nothing_and_spoils_no_other() -> None:
    said = one_by_one(decoder(NAME), 0)
    poisoned = tokens(NAME, 1)[PROMPT - 1]
    native = made(with_nan(model(NAME), poisoned))
    ids, other = prefill(native, 0), prefill(native, 1)
    assert poisoned not in ids + said[:4]
    (healthy, sick), _ = native.burst([speaker(ids, 0, 4), speaker(other, 1, 4)], 4, 1)
    assert healthy.tokens == said[:4]
    assert sick.tokens == []


def test_what_it_said_before_it_was_not_finite_is_kept() -> None:
    said = one_by_one(decoder(NAME), 0)
    ids = tokens(NAME, 0)[:PROMPT]
    place = next(i for i in range(1, 12) if said[i] not in ids + said[:i])
    native = made(with_nan(model(NAME), said[place]))
    prefill(native, 0)
    (spoke,), _ = native.burst(
        [speaker(ids, 0, 20, foretold=tuple(said[: place + 1]), widths=(place,))], 9, 1
    )
    assert spoke.tokens == said[: place + 1]


def test_a_draft_that_is_not_finite_costs_no_answer() -> None:
    said = one_by_one(decoder(NAME), 0)
    ids = tokens(NAME, 0)[:PROMPT]
    strange = next(token for token in range(MODELS[NAME].vocab_size) if token not in ids + said)
    native = made(with_nan(model(NAME), strange))
    prefill(native, 0)
    (spoke,), rounds = native.burst([speaker(ids, 0, 20, foretold=(said[0], strange), widths=(2,))], 1, 1)
    assert (rounds, spoke.tokens) == (2, said[:1])


@pytest.mark.parametrize(
    "wrong",
    [
        Speaker(5, 3, [0], 14, []),  # one token more than the block has room for
        Speaker(5, 3, [16], 1, []),
        Speaker(5, -1, [0], 1, []),
        Speaker(-1, 3, [0], 1, []),
        Speaker(5, 2**31 - 1, [0], 1, []),
        Speaker(5, 3, [0], 0, []),
        Speaker(5, 3, [0], 4, [], (10_000,), (1,)),
        Speaker(5, 3, [0], 4, [], (5,), (-1,)),
    ],
)
def test_an_index_out_of_range_is_refused(wrong: Speaker) -> None:
    native = decoder(NAME)
    right = Speaker(5, 3, [0], 13, [7], (5, 6), (2,))
    assert native.burst([right], 1, 1)
    with pytest.raises(IndexError):
        native.burst([right, wrong], 1, 1)


def test_the_likeliest_is_the_first_of_equals() -> None:
    said = one_by_one(decoder(NAME), 2, count=1)[0]
    equals = copy.deepcopy(model(NAME))
    for place in (said - 1, said + 1, MODELS[NAME].vocab_size - 1):
        equals.lm_head.weight[place] = equals.lm_head.weight[said]
    native = made(equals)
    (spoke,), _ = native.burst([speaker(prefill(native, 2), 2, 1)], 1, 1)
    assert spoke.tokens == [said - 1]
