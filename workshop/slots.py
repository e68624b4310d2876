"""Turns the placeholders and stock entities of the Bitext answers into plain, consistent text.

The upstream answers hold `{{...}}` placeholders in 328 spellings. A few are real facts of a business (its
phone number, hours, ...); the others are names of buttons and pages, which only lose their braces.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from workshop import inventions

# A few answers write a placeholder in square brackets.
PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}|\[([A-Z][^\[\]]*)\](?!\()")

# Checked in order: the first fact whose pattern matches the whole placeholder name wins.
FACTS: tuple[tuple[str, str], ...] = (
    (
        "phone",
        r"(customer |complaint )?(support |service |assistance )*"
        r"phone( number| call| support)?( anonymized)?",
    ),
    ("email", r"(customer |feedback |complaint )?(support |service )*e?mail( support)?( address)?"),
    (
        "hours",
        r"(customer |business |support |operating |service )*"
        r"(availability|hours|assistance hours|team availability)"
        r"( anonymized| weekdays| weekends| holidays)?",
    ),
    ("chat", r"live chat( anonymized)?|chat"),
    (
        "website",
        r"(company |service )?(website|website name|website url|website or app|website/app name)"
        r"( anonymized)?",
    ),
    ("company", r"company name"),
)
NEUTRAL: dict[str, tuple[str, ...]] = {
    "phone": ("our customer support phone number", "our support line", "the phone number on our website"),
    "email": ("our support email address", "the email address on our website"),
    "hours": ("during our business hours", "during our support hours"),
    "chat": ("live chat",),
    "website": ("website",),
    "company": ("our company",),
}
ORDER_WORDS = re.compile(r"(order|purchase)( number| id)( anonymized)?", re.IGNORECASE)
BILL_WORDS = re.compile(r"(bill|invoice)( number| id)( anonymized)?", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """What a system message says about a business: fact name to value."""

    values: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def draw(rng: random.Random) -> "Facts":
        """A made-up business with all facts."""
        return Facts({name: make(rng) for name, make in inventions.FACTS.items()})


def fact_of(name: str) -> str | None:
    """The business fact a placeholder name stands for, or None when it names a button or a page."""
    lowered = name.lower()
    return next((fact for fact, pattern in FACTS if re.fullmatch(pattern, lowered)), None)


def used_facts(text: str) -> list[str]:
    """The facts the placeholders of a text ask for, each once, in order of first use."""
    facts = (fact_of(match[1] or match[2] or "") for match in PLACEHOLDER.finditer(text))
    return list(dict.fromkeys(fact for fact in facts if fact))


def fill(text: str, facts: Facts, entity: str, rng: random.Random) -> str:
    """The text without braces: facts filled in or worded neutrally, numbers taken from `entity`."""
    neutral = {fact: rng.choice(words) for fact, words in NEUTRAL.items()}

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2) or ""
        fact = fact_of(name)
        if fact:
            return facts.values.get(fact, neutral[fact])
        if ORDER_WORDS.fullmatch(name):
            return entity or "your order number"
        if BILL_WORDS.fullmatch(name):
            return entity or "your invoice number"
        return _bare(name)

    return tidy(PLACEHOLDER.sub(value, text))


def _bare(name: str) -> str:
    return re.sub(r"\s*anonymized", "", name, flags=re.IGNORECASE).strip('"').strip() or "details"


def tidy(text: str) -> str:
    """No brace, doubled space or doubled small word is left by the substitution."""
    text = re.sub(r"[{}\[\]]", "", text).replace("\r\n", "\n")
    for wrong, right in inventions.REPAIRS:
        text = wrong.sub(right, text)
    return re.sub(r"[ \t]{2,}", " ", text).strip()


def renew(kind: str, value: str, rng: random.Random, entity: str = "") -> Callable[[str], str]:
    """A function that puts `entity`, else one fresh random one, in place of a stock one wherever it stands."""
    make = inventions.ENTITIES.get(kind)
    if not value or make is None:
        return lambda text: text
    # Upstream cells lost leading zeros and last digits of some order numbers; the texts have them.
    glue = "[0-9]" if kind == "order_id" else "[A-Za-z0-9]"
    rest = r"\d*" if kind == "order_id" else ""
    pattern = re.compile(rf"(?<!{glue})#?0*{re.escape(value.lstrip('#0'))}{rest}(?![A-Za-z0-9])")
    fresh = entity or make(rng)
    return lambda text: pattern.sub(lambda _: fresh, text)
