"""The conversation half of the mixture: draws one conversation after another from weighted sources."""

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from workshop import bitext, grounded, smalltalk
from workshop.deck import Deck, Decks
from workshop.encode import Message
from workshop.one_order import OneOrder
from workshop.slots import Facts
from workshop.systems import plain_system

Source = Callable[[random.Random], list[Message]]


class Conversations:
    """Draws conversations; `decks` remembers what was dealt."""

    def __init__(self, data: Path, decks: Decks) -> None:
        support = bitext.read_support(data)
        self._support = decks.add(Deck("support", support))
        self._copying = decks.add(
            Deck("copying", [row for row in support if row.copies and row.kind == "order_id"])
        )
        short = bitext.read_short(data)
        self._short = decks.add(Deck("short", short))
        self._one_order = OneOrder(support, short)
        self._chitchat = decks.add(Deck("chitchat", smalltalk.read_chitchat(data)))
        self._dialogues = decks.add(Deck("dialogues", smalltalk.read_dialogues(data)))
        self._faq = grounded.Faq(data)
        self._phrasings = bitext.phrasings(data)
        self._plain: dict[str, list[bitext.Support]] = defaultdict(list)
        for row in support:
            if not row.entity:
                self._plain[row.intent].append(row)
        # Shares of conversations, not of tokens: a support answer is about five times as long as small talk.
        self._sources: dict[str, tuple[float, Source]] = {
            "support": (0.31, lambda rng: bitext.conversation(self._support.deal(), rng)),
            "copying": (0.13, lambda rng: bitext.conversation(self._copying.deal(), rng)),
            "phrasing": (0.08, self._other_wording),
            "facts": (0.18, grounded.fact_question),
            "status": (0.09, grounded.order_status),
            "noted": (0.12, grounded.order_noted),
            "faq": (0.11, self._faq.conversation),
            "greeting": (0.05, lambda rng: [*plain_system(rng), *smalltalk.greeting(rng)]),
            "chitchat": (0.06, lambda rng: [*plain_system(rng), *self._chitchat.deal()]),
            "composed": (0.07, self._composed),
            "one order": (0.06, self._one_order.draw),
            "dialogue": (0.04, lambda rng: self._dialogues.deal()),
        }

    def draw(self, rng: random.Random) -> list[Message]:
        """The next conversation."""
        names = list(self._sources)
        name = rng.choices(names, [self._sources[key][0] for key in names])[0]
        return self._sources[name][1](rng)

    def _other_wording(self, rng: random.Random) -> list[Message]:
        """A question worded otherwise, answered with an answer of the same intent."""
        intent = rng.choice([name for name in self._plain if name in self._phrasings])
        answer = bitext.exchange(rng.choice(self._plain[intent]), Facts(), rng)[1]
        return [*plain_system(rng), Message("user", rng.choice(self._phrasings[intent])), answer]

    def _composed(self, rng: random.Random) -> list[Message]:
        """Two to five exchanges that change the topic: greeting, support, small talk, thanks."""
        turns = plain_system(rng)
        if rng.random() < 0.6:
            turns += smalltalk.greeting(rng, (0, 3))
        for _ in range(rng.randint(1, 3)):
            pick = rng.random()
            if pick < 0.7:
                turns += bitext.exchange(self._short.deal(), Facts(), rng)
            elif pick < 0.85:
                turns += grounded.order_noted(rng) if rng.random() < 0.4 else self._chitchat.deal()
            else:
                turns += smalltalk.greeting(rng, (4, 5))
        if rng.random() < 0.6:
            turns += smalltalk.greeting(rng, (1, 2))
        return turns
