"""A third set for the masking, held back: letters of customers and lines of programs as nobody tried the patterns on.

Written after the patterns; they are not changed for it. Of what it shows as missed, the page tells.
"""

import random
from collections.abc import Callable, Iterator

from loadtests.reliability import identifiers as made
from loadtests.reliability.identifiers import digits, in_groups, letters
from loadtests.reliability.masking_set import Sample

Make = Callable[[random.Random], str]


def _of(*makers: Make) -> Make:
    return lambda chooser: chooser.choice(makers)(chooser)


def _capitals(chooser: random.Random, count: int) -> str:
    return letters(chooser, count, "ABCDEFGHJKLMNPQRSTUVWXYZ")


VALUES: dict[str, Make] = {
    "mobile phone": _of(
        made.mobile,
        made.mobile,
        lambda chooser: in_groups(made.mobile(chooser), (3, 4), "\u2011"),
        lambda chooser: in_groups(made.mobile(chooser), (3, 4), "\u00a0"),
        lambda chooser: "+86" + in_groups(made.mobile(chooser), (3, 4), " "),
        lambda chooser: "0086-" + made.mobile(chooser),
    ),
    "landline": _of(
        lambda chooser: f"(0{chooser.choice(('10', '512', '371'))}) 6{digits(chooser, 7)}",
        lambda chooser: f"0898 6{digits(chooser, 7)}",
        lambda chooser: f"025–5{digits(chooser, 7)}",
        lambda chooser: f"+86 21 6{digits(chooser, 3)} {digits(chooser, 4)}",
    ),
    "foreign phone": _of(
        lambda chooser: f"+61 4{digits(chooser, 2)} {digits(chooser, 3)} {digits(chooser, 3)}",
        lambda chooser: f"+442079{digits(chooser, 6)}",
        lambda chooser: f"+65 9{digits(chooser, 3)} {digits(chooser, 4)}",
        lambda chooser: f"(646) 555-{digits(chooser, 4)}",
        lambda chooser: f"+1-646-555-{digits(chooser, 4)}",
    ),
    "resident identity": _of(
        made.identity, lambda chooser: in_groups(made.identity(chooser), (6, 8), "\u2009")
    ),
    "payment card": _of(made.card, lambda chooser: in_groups(made.card(chooser), (4, 4, 4, 4), "\u00a0")),
    "credit code": made.credit_code,
    "IBAN": _of(made.iban, lambda chooser: in_groups(made.iban(chooser), (4,) * 8, "\u00a0")),
    "passport": made.passport,
    "e-mail": _of(made.email, lambda chooser: f"{digits(chooser, 9)}@qq.example.com"),
    "IP address": _of(made.public_ipv4, made.public_ipv6),
    "API key": _of(made.api_key, lambda chooser: f"sk_live_{letters(chooser, 24)}"),
    "web token": made.web_token,
}
LETTERS = [
    ("你好，我在11月11日买的东西还没到，之前留的", "好像写错了，能帮我查一下吗？订单尾号3381。"),
    ("昨天客服小王说会回电，至今没有消息。我的是", ",麻烦今天18:00前处理，多谢！"),
    ("（转人工）投诉第2次：", "！！！"),
    ("收货信息→", "←别再弄错了"),
    ("I ordered two items (SKU 88-1204) on 3 May and gave ", " as my contact; nothing happened since."),
    ('Hi - quick one: is "', '" what you have on file? Paid $1,299.00 by the way.'),
    ("2026-11-25T09:12:44Z ERROR lookup failed for ", " after 3 retries (took 182 ms)"),
    ("ValueError: cannot parse '", "' at position 17"),
    ("- ", "\n- 第二项：数量 12"),
    ("user:", "|plan:gold|seats:25"),
]
NEAR_MISSES: dict[str, Make] = {
    "order number": _of(
        lambda chooser: f"E{digits(chooser, 6)}",
        lambda chooser: f"2026{chooser.randint(10, 12)}{chooser.randint(10, 28)}{digits(chooser, 10)}",
        lambda chooser: f"PO-{digits(chooser, 5)}/{digits(chooser, 2)}",
        lambda chooser: digits(chooser, 15),
        lambda chooser: f"{_capitals(chooser, 2)}{digits(chooser, 9)}",
    ),
    "amount": _of(
        lambda chooser: f"{chooser.randint(1, 999)}万{digits(chooser, 4)}元",
        lambda chooser: f"£{chooser.randint(1, 10**5):,}.{digits(chooser, 2)}",
        lambda chooser: f"{chooser.random():.17f}",
        lambda chooser: f"{chooser.randint(10**6, 10**8)} bytes",
    ),
    "date": _of(
        lambda chooser: (
            f"2026-{chooser.randint(10, 12)}-{chooser.randint(10, 28)} ~ 2027-01-{chooser.randint(10, 28)}"
        ),
        lambda chooser: f"{chooser.randint(1_600_000_000, 1_900_000_000)}.{digits(chooser, 6)}",
        lambda chooser: (
            f"{chooser.randint(10, 28)}.{chooser.randint(10, 12)}.2026, {chooser.randint(10, 23)}.30 Uhr"
        ),
    ),
    "tracking number": _of(
        lambda chooser: f"9400 1000 {digits(chooser, 4)} {digits(chooser, 4)} {digits(chooser, 4)} 00",
        lambda chooser: f"JT{digits(chooser, 13)}",
        lambda chooser: f"{_capitals(chooser, 4)}U{digits(chooser, 7)}",
    ),
    "identifier": _of(
        lambda chooser: letters(chooser, 40, "0123456789abcdef"),
        lambda chooser: (
            f"pod/api-{letters(chooser, 10, '0123456789abcdef')}-{letters(chooser, 5, 'bcdfg2467')}"
        ),
        lambda chooser: f"01J{letters(chooser, 23, '0123456789ABCDEFGHJKMNPQRSTVWXYZ')}",
        lambda chooser: f"E0{digits(chooser, 3)}: line {digits(chooser, 4)}",
    ),
    "programs": _of(
        lambda chooser: (
            f"app.engine.core:{chooser.randint(1, 999)}, 0x7f{letters(chooser, 10, '0123456789abcdef')}"
        ),
        lambda chooser: f"tensor([{chooser.random():.4f}, {chooser.random():.4f}, -{chooser.random():.4f}])",
        lambda chooser: (
            f"172.16.{chooser.randint(0, 255)}.{chooser.randint(1, 254)} and 2.13.{chooser.randint(0, 9)}"
        ),
    ),
    "numbers": _of(
        lambda chooser: f"ISBN 978{digits(chooser, 10)}",
        lambda chooser: (
            f"尺寸{chooser.randint(10, 99)}x{chooser.randint(10, 99)}x{chooser.randint(10, 99)}cm"
        ),
        lambda chooser: (
            f"{digits(chooser, 2)}:{digits(chooser, 2)}-{digits(chooser, 2)}:{digits(chooser, 2)}"
        ),
        lambda chooser: f"{digits(chooser, 3)} {digits(chooser, 3)} {digits(chooser, 3)}",
    ),
}


def samples(seed: int, each: int) -> Iterator[Sample]:
    """`each` samples of every kind; the same seed gives the same."""
    chooser = random.Random(f"held back {seed}")
    for kind, make in VALUES.items():
        for number in range(each):
            before, after = LETTERS[number % len(LETTERS)]
            yield Sample(kind, before, make(chooser), after)
    for kind, make in NEAR_MISSES.items():
        for number in range(each):
            before, after = LETTERS[number % len(LETTERS)]
            yield Sample(kind, before + make(chooser) + after, "", "")
