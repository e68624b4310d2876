"""Made-up order numbers, names, places and business facts: to be copied, never memorised."""

import random
import re
from collections.abc import Callable

Maker = Callable[[random.Random], str]

FIRST = "Anna David Maria John Li Omar Sofia Peter Priya Lucas Emma Noah Aisha Marco Julia Tom Nina Hugo"
LAST = "Smith Jones Freeman Miller Novak Garcia Chen Patel Rossi Kim Silva Weber Brown Okafor Reed"
CITIES = "Liverpool Toronto Seattle Munich Valencia Detroit Dublin Lyon Oslo Porto Austin Leeds Kyoto"
COUNTRIES = "Canada Japan Hungary Finland Mexico Spain Brazil Norway India Kenya Italy Chile Poland Peru"
PLANS = (
    "Freemium Platinum Premium Pro free Gold Standard Silver Basic Plus Business Family Starter Enterprise"
)
FIRM_A = "Nova Blue Bright North Green Urban River Prime Swift Clear Silver Maple Sun Peak Lumen Harbor Cedar"
FIRM_B = (
    "Mart Shop Store Goods Market Wear Home Tech Books Foods Direct Outlet Supply Works Line Hub Box Trade"
)
DAYS = (
    "Monday to Friday",
    "Monday to Saturday",
    "every day",
    "Tuesday to Sunday",
    "on weekdays",
    "seven days a week",
)


def _pick(words: str) -> Maker:
    return lambda rng: rng.choice(words.split())


def digits(rng: random.Random, least: int, most: int) -> str:
    """A run of random digits of random length."""
    return "".join(rng.choice("0123456789") for _ in range(rng.randint(least, most)))


def order_number(rng: random.Random) -> str:
    """An order number in one of the shapes shops use."""
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    shapes = (
        digits(rng, 4, 13),
        digits(rng, 5, 9),
        "#" + digits(rng, 4, 8),
        f"{letters}-{digits(rng, 4, 7)}",
        f"{letters}{digits(rng, 4, 7)}",
        f"ORD-{digits(rng, 4, 6)}",
        digits(rng, 1, 3),
    )
    return rng.choices(shapes, (5, 6, 2, 1, 1, 1, 1))[0]


def person(rng: random.Random) -> str:
    """A full name or a title and a surname."""
    last = rng.choice(LAST.split())
    return (
        f"{rng.choice(('Mr.', 'Ms.', 'Mrs.', 'Dr.'))} {last}"
        if rng.random() < 0.4
        else f"{_pick(FIRST)(rng)} {last}"
    )


def company(rng: random.Random) -> str:
    """A shop's name."""
    joint = rng.choice(("", "", " "))
    return rng.choice(FIRM_A.split()) + joint + rng.choice(FIRM_B.split())


def website(rng: random.Random) -> str:
    """A domain name."""
    return company(rng).replace(" ", "").lower() + rng.choice((".com", ".com", ".shop", ".net", ".example"))


def email(rng: random.Random) -> str:
    """A support address."""
    return rng.choice(("support", "help", "care", "service", "hello")) + "@" + website(rng)


def phone(rng: random.Random) -> str:
    """A phone number in a common national shape."""
    a, b, c = digits(rng, 3, 3), digits(rng, 3, 3), digits(rng, 4, 4)
    return rng.choice(
        (
            f"{a}-{b}-{c}",
            f"1-800-{b}-{c}",
            f"({a}) {b}-{c}",
            f"+{digits(rng, 1, 2)} {a} {b} {c}",
            f"555-{c}",
            f"0800 {b} {c}",
            f"+1-{a}-{b}-{c}",
        )
    )


def hours(rng: random.Random) -> str:
    """Opening hours."""
    start, end = rng.randint(6, 11), rng.randint(3, 11)
    clock = rng.choice(
        (
            f"{start} am to {end} pm",
            f"{start}am-{end}pm",
            f"{start}:00 to {end + 12}:00",
            f"{start}:{rng.choice(('00', '30'))} am to {end}:{rng.choice(('00', '30'))} pm",
        )
    )
    days = rng.choice(DAYS)
    return rng.choice(
        (f"{days}, {clock}", f"{days} from {clock}", f"{clock}, {days}", "24/7")
        if rng.random() < 0.3
        else (f"{days}, {clock}", f"{days} from {clock}")
    )


FACTS: dict[str, Maker] = {
    "company": company,
    "website": website,
    "phone": phone,
    "hours": hours,
    "email": email,
    "chat": lambda rng: rng.choice(("live chat", "Live Chat", "chat window", "web chat")),
}
ENTITIES: dict[str, Maker] = {
    "order_id": order_number,
    "invoice_id": order_number,
    "person_name": person,
    "account_type": _pick(PLANS),
    "delivery_city": _pick(CITIES),
    "delivery_country": _pick(COUNTRIES),
    "refund_amount": lambda rng: str(rng.randint(2, 2500)),
}
# What filling leaves behind when the sentence around a placeholder already said the same.
REPAIRS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"\b([Oo]ur|[Tt]he|[Yy]our|[Aa]) (?:own |toll-free number |dedicated )?(?:our|the|your) "),
        r"\1 ",
    ),
    (re.compile(r"\b(?:during|from|at) (during) "), r"\1 "),
    (re.compile(r"\b([Oo]ur|[Tt]he|[Yy]our) (?=[a-z]+\.(?:com|net|shop|example)\b)"), ""),
    (re.compile(r"\b(website|live chat|phone number) \1\b", re.IGNORECASE), r"\1"),
    (re.compile(r"\b(visit|to|on|at|into|through|via) website\b"), r"\1 our website"),
    (re.compile(r"\b(our website),? (?:at )?(?:our )?website\b"), r"\1"),
)
