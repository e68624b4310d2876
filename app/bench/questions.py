"""What `app bench` asks unless it is given a file: customers' questions, no two with one beginning."""

import random

from app.bench.ask import CHAT_PATH, COMPLETION_PATH, Ask

_QUESTIONS = (
    "Where is my parcel? It was to come on Monday.",
    "I was charged twice for one order. How do I get my money back?",
    "Can I change the address of a delivery that is already on its way?",
    "How do I cancel an order that I placed an hour ago?",
    "My jacket came in the wrong size. What do I do to exchange it?",
    "Which ways of paying do you take, and is there a fee for any of them?",
    "I cannot sign in any more. How do I set a new password?",
    "Please send me the invoice of my last order once more.",
)


def question(chooser: random.Random) -> str:
    """A question with an order number in front, so that no cache of prefixes answers for the model."""
    return f"Order {chooser.randrange(10**7, 10**8)}. {chooser.choice(_QUESTIONS)}"


def ask_for(prompt: str, model: str, max_tokens: int, *, chat: bool) -> Ask:
    """The request that carries a prompt."""
    body = {"model": model, "max_tokens": max_tokens}
    if chat:
        return Ask("chat", "chat", CHAT_PATH, body | {"messages": [{"role": "user", "content": prompt}]})
    return Ask("completion", "completion", COMPLETION_PATH, body | {"prompt": prompt})
