"""System messages: none, a plain role, or the facts of a made-up business in varied wording."""

import random

from workshop.encode import Message
from workshop.slots import Facts

ROLES = (
    "You are a helpful assistant.",
    "You are a helpful customer support assistant.",
    "You are a customer service agent. Answer politely and briefly.",
    "You are the virtual assistant of an online shop.",
    "You help customers with their orders, invoices, refunds and accounts.",
    "You are a friendly support agent.",
)
WORDINGS: dict[str, tuple[str, ...]] = {
    "company": (
        "Company: {}.",
        "You work for {}.",
        "You are the support assistant of {}.",
        "Company name: {}.",
    ),
    "website": ("Website: {}.", "Our website is {}.", "The shop is at {}."),
    "phone": (
        "Phone: {}.",
        "Support phone number: {}.",
        "Our phone number is {}.",
        "Customer support phone: {}.",
        "Customers can call {}.",
        "Call us at {}.",
    ),
    "hours": (
        "Hours: {}.",
        "Opening hours: {}.",
        "Support is available {}.",
        "Support hours: {}.",
        "We are open {}.",
        "Business hours: {}.",
    ),
    "email": ("Email: {}.", "Support email: {}.", "Our email address is {}.", "E-mail: {}."),
    "chat": ("Chat: {}.", "Live chat is called {}.", "We also offer {}."),
}


def plain_system(rng: random.Random) -> list[Message]:
    """No system message in half of the cases, else a role."""
    return [Message("system", rng.choice(ROLES))] if rng.random() < 0.5 else []


def fact_system(facts: Facts, rng: random.Random) -> Message:
    """A system message that states every fact, in random order and wording."""
    names = list(facts.values)
    rng.shuffle(names)
    parts = [rng.choice(WORDINGS[name]).format(facts.values[name]) for name in names]
    if rng.random() < 0.6:
        parts.insert(0, rng.choice(ROLES))
    return Message("system", rng.choice((" ", " ", "\n")).join(parts))
