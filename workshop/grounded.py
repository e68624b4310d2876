"""Conversations whose answer stands in the system or tool message: business facts, snippets, results."""

import random
from collections import defaultdict
from pathlib import Path

from workshop.encode import Message
from workshop.inventions import ENTITIES
from workshop.rows import read_csv
from workshop.slots import Facts
from workshop.systems import fact_system

QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "phone": (
        (
            "What is your phone number?",
            "How can I call you?",
            "what number do I call",
            "can I phone support?",
            "give me the support number",
            "I want to call customer service",
            "is there a phone number I can call?",
        ),
        (
            "You can call us at {}.",
            "Our phone number is {}.",
            "You can reach our support team by phone at {}.",
        ),
    ),
    "hours": (
        (
            "What are your opening hours?",
            "When are you open?",
            "when can I call support",
            "are you open now?",
            "What hours is customer service available?",
            "until what time are you available?",
            "your business hours?",
        ),
        ("We are available {}.", "Our support hours are {}.", "You can reach us {}.", "Our hours are {}."),
    ),
    "email": (
        (
            "What is your email address?",
            "Can I email you?",
            "how do I send you an email",
            "support email please",
            "which address can I write to?",
        ),
        ("You can email us at {}.", "Our email address is {}.", "Please write to {}."),
    ),
    "website": (
        (
            "What is your website?",
            "where can I find you online?",
            "what's the address of your site?",
            "your url?",
        ),
        ("You can find us at {}.", "Our website is {}.", "Please visit {}."),
    ),
    "company": (
        (
            "What company is this?",
            "who do you work for?",
            "What is the name of your company?",
            "which shop is this",
        ),
        (
            "You are talking to the support assistant of {}.",
            "This is {}.",
            "I am the support assistant of {}.",
        ),
    ),
}
UNKNOWN = (
    "I'm sorry, I don't have that information.",
    "I'm sorry, that information is not available to me.",
    "I don't have information about that. Please contact our support team.",
)
TRACKING = (
    "where is my order {}",
    "what is the status of order {}?",
    "track order {}",
    "has order {} shipped?",
    "I want to know about order {}",
    "any news on purchase {}?",
    "order {} status please",
)
STATUSES = (
    "shipped",
    "delivered",
    "processing",
    "cancelled",
    "on hold",
    "out for delivery",
    "refunded",
    "packed",
)
NUMBERS = (
    "My order number is {}.",
    "the number is {}",
    "order {}",
    "it is {}",
    "Here it is: {}",
    "{}",
    "my purchase number is {}",
    "I need help with order {}",
)
NOTED = (
    "Thank you. I have your order number as {}. How can I help you with it?",
    "Thanks, I see you are asking about order {}. What would you like to do with it?",
    "Got it, order {}. What can I do for you?",
)


def fact_question(rng: random.Random) -> list[Message]:
    """A direct question about one fact; in 15 % the fact is not stated and the answer says so."""
    facts = Facts.draw(rng)
    asked = rng.choice(list(QUESTIONS))
    others = rng.sample([name for name in facts.values if name != asked], rng.randint(1, 4))
    known = rng.random() >= 0.15
    shown = Facts({name: facts.values[name] for name in [*others, *([asked] if known else [])]})
    questions, answers = QUESTIONS[asked]
    answer = rng.choice(answers).format(facts.values[asked]) if known else rng.choice(UNKNOWN)
    return [fact_system(shown, rng), Message("user", rng.choice(questions)), Message("assistant", answer)]


def order_noted(rng: random.Random, number: str = "") -> list[Message]:
    """An order number, a fresh one when none is given, that the answer repeats."""
    number = number or ENTITIES["order_id"](rng)
    return [
        Message("user", rng.choice(NUMBERS).format(number)),
        Message("assistant", rng.choice(NOTED).format(number)),
    ]


def order_status(rng: random.Random) -> list[Message]:
    """The status of one of several orders, looked up in a tool or system message."""
    number = ENTITIES["order_id"](rng)
    status = rng.choice(STATUSES)
    orders = [
        (number, status),
        *((ENTITIES["order_id"](rng), rng.choice(STATUSES)) for _ in range(rng.randint(0, 2))),
    ]
    rng.shuffle(orders)
    listed = rng.choice(("; ", "\n", ", ")).join(f"order {name}: {state}" for name, state in orders)
    question = Message("user", rng.choice(TRACKING).format(number))
    answer = Message(
        "assistant",
        rng.choice(("Order {} is {}.", "Your order {} is {}.", "The status of order {} is {}.")).format(
            number, status
        ),
    )
    if rng.random() < 0.5:
        return [question, Message("tool", listed), answer]
    return [Message("system", "You are a support agent. " + listed + "."), question, answer]


class Faq:
    """Frequent questions about places, answered from snippets in the system message."""

    def __init__(self, data: Path) -> None:
        self._places: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in read_csv(data / "dstc9_knowledge" / "faq.csv.gz"):
            self._places[f"{row['domain']}:{row['entity_id']}"].append(row)
        self._keys = [key for key, rows in self._places.items() if len(rows) >= 4]

    def conversation(self, rng: random.Random) -> list[Message]:
        """One question among 1 to 4 distractor snippets; in 15 % the right one is missing."""
        rows = self._places[rng.choice(self._keys)]
        asked, *others = rng.sample(rows, min(len(rows), rng.randint(3, 5)))
        known = rng.random() >= 0.15
        snippets = [*others, asked] if known else others
        rng.shuffle(snippets)
        questions = rng.random() < 0.5
        lines = [f"{row['question']} {row['answer']}" if questions else row["answer"] for row in snippets]
        place = asked["entity_name"].title()
        start = rng.choice(
            (
                f"You answer questions about {place}. Use only these facts.",
                f"Facts about {place}:",
                "Answer from these facts only.",
                "Context:",
            )
        )
        return [
            Message("system", start + "\n" + "\n".join(f"- {line}" for line in lines)),
            Message("user", asked["question"]),
            Message("assistant", asked["answer"] if known else rng.choice(UNKNOWN)),
        ]
