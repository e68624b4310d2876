"""Conversations of several turns about one order: later turns say "it", the answers keep its number."""

import random
from collections import defaultdict
from collections.abc import Sequence

from workshop import smalltalk
from workshop.bitext import Support, exchange
from workshop.encode import Message
from workshop.grounded import order_noted
from workshop.inventions import order_number
from workshop.slots import Facts
from workshop.systems import plain_system

# What a customer says in a later turn, by the intent of the answer.
AGAIN: dict[str, tuple[str, ...]] = {
    "track_order": (
        "Where is it now?",
        "When will it arrive?",
        "has it been shipped?",
        "Can you tell me where it is?",
        "any news on it?",
        "I would like to track it",
        "how can I see its status?",
    ),
    "cancel_order": (
        "Please cancel it.",
        "Can I still cancel it?",
        "I want to cancel it",
        "I don't need it any more",
        "how do I cancel it?",
        "ok, then cancel it please",
    ),
    "change_order": (
        "Can I change it?",
        "I want to add an item to it",
        "I need to swap one item",
        "can I still change something in it?",
        "I'd like to remove one article from it",
    ),
}
# The same for questions around an order, which canned answers serve.
AROUND: dict[str, tuple[str, ...]] = {
    "check_cancellation_fee": (
        "What does it cost to cancel it?",
        "is there a fee for that?",
        "do I have to pay if I cancel it?",
    ),
    "get_refund": ("I want a refund for it", "how do I get my money back?", "can I return it?"),
    "track_refund": ("how long does that take?", "when will I get my money?", "where is my refund?"),
    "check_refund_policy": ("can I get a refund for it?", "when is a refund possible?"),
    "delivery_period": ("how long does delivery take?", "how many days is that?"),
    "delivery_options": ("can it be delivered faster?", "which delivery options do I have?"),
    "change_shipping_address": ("can you send it to another address?", "the address is wrong"),
    "payment_issue": ("the payment for it failed", "I cannot pay for it"),
    "complaint": ("this is not acceptable", "I want to complain about it"),
}


class OneOrder:
    """Draws such conversations.

    Args:
        support: rows whose answers repeat an order number are used.
        short: canned answers, for the questions around an order.
    """

    def __init__(self, support: Sequence[Support], short: Sequence[Support]) -> None:
        self._numbered: dict[str, list[Support]] = defaultdict(list)
        for row in support:
            if row.kind == "order_id" and row.copies and row.intent in AGAIN:
                self._numbered[row.intent].append(row)
        self._around = [row for row in short if row.intent in AROUND and not row.entity]

    def draw(self, rng: random.Random) -> list[Message]:
        """Two to four exchanges about one order number, perhaps with a greeting before and thanks behind."""
        number = order_number(rng)
        turns = plain_system(rng)
        if rng.random() < 0.2:
            turns += smalltalk.greeting(rng, (0, 3))
        intents = rng.sample(list(self._numbered), min(2, len(self._numbered)))
        if rng.random() < 0.35:
            turns += order_noted(rng, number)
        else:
            turns += self._numbered_exchange(intents.pop(), number, rng)
        for intent in intents:
            answer = self._numbered_exchange(intent, number, rng)[1]
            turns += [Message("user", rng.choice(AGAIN[intent])), answer]
        if self._around and rng.random() < 0.6:
            turns += self._around_exchange(rng)
        if rng.random() < 0.4:
            turns += smalltalk.greeting(rng, (1, 2))
        return turns

    def _numbered_exchange(self, intent: str, number: str, rng: random.Random) -> tuple[Message, Message]:
        return exchange(rng.choice(self._numbered[intent]), Facts(), rng, number)

    def _around_exchange(self, rng: random.Random) -> tuple[Message, Message]:
        """A question in its own words, or in those of a customer who has just talked about the order."""
        row = rng.choice(self._around)
        question, answer = exchange(row, Facts(), rng)
        if rng.random() < 0.5:
            question = Message("user", rng.choice(AROUND[row.intent]))
        return question, answer
