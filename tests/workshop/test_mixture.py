"""The mixture: batches of the promised size, decks that deal fairly, decisions whose label is in the list."""

import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from workshop.deck import Deck, Decks
from workshop.labels import spaced, styled
from workshop.mixture import LONG_EVERY, Mixture, Shares

SHARES = Shares(conversations=512, decisions=1024)


@pytest.fixture
def mixture(data: Path, tokenizer: Tokenizer) -> Mixture:
    return Mixture(data, tokenizer, 1, SHARES)


def test_the_same_seed_gives_the_same_batches(mixture: Mixture, data: Path, tokenizer: Tokenizer) -> None:
    again = Mixture(data, tokenizer, 1, SHARES)
    for step in range(2):
        for one, other in zip(mixture.batches(step).values(), again.batches(step).values(), strict=True):
            assert one.ids.equal(other.ids)


def test_whole_lists_have_their_turn(mixture: Mixture) -> None:
    parts = [set(mixture.batches(step)) for step in range(LONG_EVERY)]
    assert parts == [{"chat", "short"}] * (LONG_EVERY - 1) + [{"chat", "long"}]


def test_labels_are_in_their_list(mixture: Mixture, tokenizer: Tokenizer) -> None:
    for step in range(LONG_EVERY):
        batch = list(mixture.batches(step).values())[1]
        for row in batch.ids.tolist():
            text = tokenizer.decode(row, skip_special_tokens=False).replace("<|pad|>", "")
            for tree in text.split("<|im_start|>system\n")[1:]:
                trunk, *branches = tree.split("<|im_start|>assistant\n")
                listed = trunk.split("Labels: ")[1].split("<|im_end|>")[0].split(" | ")
                names = {name.split(" (")[0] for name in listed}
                assert {branch.split("<|im_end|>")[0] for branch in branches} <= names


def test_a_deck_deals_every_item_before_any_again() -> None:
    deck = Deck("letters", "abcd")
    rounds = [{deck.deal() for _ in range(4)} for _ in range(3)]
    assert rounds == [set("abcd")] * 3


def test_decks_continue_where_they_were() -> None:
    decks, again = Decks(), Decks()
    deck, other = decks.add(Deck("x", range(7))), again.add(Deck("x", range(7)))
    for _ in range(random.Random(0).randint(8, 12)):
        deck.deal()
    again.restore(decks.state())
    assert [deck.deal() for _ in range(9)] == [other.deal() for _ in range(9)]


def test_empty_and_double_decks_are_refused() -> None:
    decks = Decks()
    decks.add(Deck("x", [1]))
    with pytest.raises(ValueError, match="two decks"):
        decks.add(Deck("x", [2]))
    with pytest.raises(ValueError, match="no items"):
        Deck("y", [])


def test_spelling_styles() -> None:
    assert spaced("AddToPlaylist") == spaced("add_to-playlist") == "add to playlist"
    assert [styled("top_up", style) for style in ("snake", "title", "kebab")] == [
        "top_up",
        "Top Up",
        "top-up",
    ]
