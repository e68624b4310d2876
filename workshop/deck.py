"""Deals the items of a list in random order, every item once before any comes again; resumable."""

import random
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Deck(Generic[T]):
    """An endless shuffled supply. The order of a round depends on the name and the round alone."""

    def __init__(self, name: str, items: Sequence[T]) -> None:
        if not items:
            raise ValueError(f"the deck {name} has no items")
        self.name, self._items, self._dealt = name, items, 0
        self._order: list[int] = []
        self._shuffle()

    def _shuffle(self) -> None:
        self._order = list(range(len(self._items)))
        random.Random(f"{self.name}:{self._dealt // len(self._items)}").shuffle(self._order)

    def deal(self) -> T:
        """The next item."""
        place = self._dealt % len(self._items)
        if place == 0:
            self._shuffle()
        self._dealt += 1
        return self._items[self._order[place]]

    @property
    def dealt(self) -> int:
        """How many items were dealt: all the state there is."""
        return self._dealt

    @dealt.setter
    def dealt(self, count: int) -> None:
        self._dealt = count
        self._shuffle()


class Decks:
    """The decks of a mixture by name, to save and restore together."""

    def __init__(self) -> None:
        self._decks: dict[str, Deck[object]] = {}

    def add(self, deck: Deck[T]) -> Deck[T]:
        """Takes a deck under its name and returns it."""
        if deck.name in self._decks:
            raise ValueError(f"two decks named {deck.name}")
        self._decks[deck.name] = deck  # type: ignore[assignment]
        return deck

    def state(self) -> dict[str, int]:
        """Deals made from each deck."""
        return {name: deck.dealt for name, deck in self._decks.items()}

    def restore(self, state: dict[str, int]) -> None:
        """Continues where `state` was taken; decks it does not know start afresh."""
        for name, dealt in state.items():
            if name in self._decks:
                self._decks[name].dealt = dealt
