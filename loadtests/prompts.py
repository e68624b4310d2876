"""Prompts of a known number of tokens, no two with one beginning: no prefix cache answers for the model."""

import random
import string

_LETTERS = string.ascii_letters + string.digits


def letters(tokens: int, chooser: random.Random) -> str:
    """So many ASCII characters: for a tokenizer with one token a byte, so many tokens."""
    return "".join(chooser.choices(_LETTERS, k=tokens))


def question(chooser: random.Random) -> str:
    """A customer's question with an order number of its own, in front."""
    number = "".join(chooser.choices(string.digits, k=8))
    return f"{number} is my order number. I ordered a blue jacket two weeks ago. Where is it, and when will it come?"


LABELS = [
    "cancel order", "change order", "place order", "track order", "delivery options", "delivery period",
    "change shipping address", "set up shipping address", "get refund", "check refund policy", "track refund",
    "payment issue", "payment methods", "check invoice", "get invoice", "create account", "delete account",
    "recover password", "contact customer service", "complaint",
]  # fmt: skip
