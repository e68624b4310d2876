"""A structured set for the masking of log lines: values that identify, between all neighbours, and near misses."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loadtests.reliability import identifiers as made
from loadtests.reliability.identifiers import digits, in_groups, letters

Make = Callable[[random.Random], str]


@dataclass(frozen=True)
class Sample:
    """One text.

    Attributes:
        kind: of the value, or of the near miss.
        value: what must be taken out whole; empty where nothing may be.
        before, after: what must stay.
    """

    kind: str
    before: str
    value: str
    after: str

    @property
    def text(self) -> str:
        """The whole."""
        return self.before + self.value + self.after


def _mobile(chooser: random.Random) -> str:
    number = made.mobile(chooser)
    number = chooser.choice([number, in_groups(number, (3, 4), " "), in_groups(number, (3, 4), "-")])
    return chooser.choice(["", "", "+86", "+86 ", "86-", "0086 "]) + number


def _landline(chooser: random.Random) -> str:
    area = chooser.choice(["010", "021", "0755", "0571", "028"])
    number = chooser.choice("2345678") + digits(chooser, 7)
    return chooser.choice(
        [f"{area}-{number}", f"({area}){number}", f"{area} {number}", f"{area}-{number}-{digits(chooser, 3)}"]
    )


def _foreign(chooser: random.Random) -> str:
    return chooser.choice(
        [
            f"+44 20 7946 {digits(chooser, 4)}",
            f"+1 415-555-{digits(chooser, 4)}",
            f"+1 (212) 555-{digits(chooser, 4)}",
            f"+4930{digits(chooser, 8)}",
            f"+81-3-{digits(chooser, 4)}-{digits(chooser, 4)}",
            f"(415) 555-{digits(chooser, 4)}",
            f"212-555-{digits(chooser, 4)}",
        ]
    )


def _card(chooser: random.Random) -> str:
    number = made.card(chooser)
    return chooser.choice(
        [number, in_groups(number, (4, 4, 4, 4), " "), in_groups(number, (4, 4, 4, 4), "-")]
    )


def _iban(chooser: random.Random) -> str:
    number = made.iban(chooser)
    return chooser.choice([number, in_groups(number, (4,) * 8, " ")])


def _ip(chooser: random.Random) -> str:
    return chooser.choice([made.public_ipv4, made.public_ipv6])(chooser)


VALUES: dict[str, Make] = {
    "mobile phone": _mobile,
    "landline": _landline,
    "foreign phone": _foreign,
    "resident identity": made.identity,
    "payment card": _card,
    "credit code": made.credit_code,
    "IBAN": _iban,
    "passport": made.passport,
    "e-mail": made.email,
    "IP address": _ip,
    "API key": made.api_key,
    "web token": made.web_token,
    "first identity": made.first_identity,
    "joined landline": made.joined_landline,
    "service passport": made.service_passport,
    "Chinese e-mail": made.chinese_email,
    "cloud key": made.cloud_key,
}
FRAMES = [
    ("我的号码是", "，请尽快联系我。"),
    ("请核对", "谢谢"),
    ("客户留言：“", "”，麻烦处理。"),
    ("您好，", " 是我登记的信息"),
    ("退款请打到（", "），金额￥128.50。"),
    ("订单20241125123456的资料：", "；"),
    ("Please use ", " from now on."),
    ("it is ", ", and I have waited for 3 days"),
    ("My details (", ") have changed since 2024-05-01."),
    ("line one\n", "\nline three"),
    ('{"note": "', '", "n": 2}'),
    ("value=", ";next=1"),
    ("", ""),
]
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_INVISIBLE = ("\u200b", "\u200d", "\ufeff", "\u00ad", "\u202c", "\u2066", "\u2069")
_WRITTEN_WIDE = frozenset(
    {"mobile phone", "landline", "joined landline", "resident identity", "payment card", "e-mail"}
)
"""What input methods for Chinese write in full width."""


def _write(kind: str, value: str, chooser: random.Random) -> str:
    """As it is, in full width, or with characters of no width in between."""
    draw = chooser.random()
    if draw < 0.1 and kind in _WRITTEN_WIDE:
        return value.translate(_WIDE)
    if draw < 0.2:
        places = sorted(chooser.sample(range(1, len(value)), 2), reverse=True)
        for place in places:
            value = value[:place] + chooser.choice(_INVISIBLE) + value[place:]
    return value


def _wrong(make: Make, alphabet: str = "0123456789") -> Make:
    """The value with another check character: one of the last that makes it invalid."""

    def changed(chooser: random.Random) -> str:
        value = make(chooser)
        return value[:-1] + chooser.choice(alphabet.replace(value[-1], ""))

    return changed


def _wrong_card(chooser: random.Random) -> str:
    value = made.card(chooser)
    value = value[:-1] + str((int(value[-1]) + chooser.randint(1, 9)) % 10)
    return chooser.choice([value, in_groups(value, (4, 4, 4), " ")]) if len(value) == 16 else value


def _date(chooser: random.Random) -> str:
    year, month, day = chooser.randint(1990, 2030), chooser.randint(1, 12), chooser.randint(1, 28)
    clock = f"{chooser.randint(0, 23):02}:{chooser.randint(0, 59):02}:{chooser.randint(0, 59):02}"
    return chooser.choice(
        [
            f"{year}-{month:02}-{day:02} {clock}",
            f"{year}{month:02}{day:02}{clock.replace(':', '')}",
            f"{year}年{month}月{day}日",
            f"{day:02}/{month:02}/{year}",
            f"{year}-{month:02}-{day:02}T{clock}.{digits(chooser, 3)}Z",
        ]
    )


def _amount(chooser: random.Random) -> str:
    whole = chooser.randint(1, 10**9)
    return chooser.choice(
        [
            f"￥{whole:,}.{digits(chooser, 2)}",
            f"{whole}.{digits(chooser, 2)} USD",
            f"$ {whole}",
            f"-{whole}元",
            f"{whole:,} RMB",
        ]
    )


def _version(chooser: random.Random) -> str:
    parts = [str(chooser.randint(0, 40)) for _ in range(3)]
    return (
        chooser.choice(["v", "version ", "版本", "=="]) + ".".join(parts) + chooser.choice(["", "-rc1", "b2"])
    )


def _tracking(chooser: random.Random) -> str:
    return chooser.choice(
        [
            "SF" + digits(chooser, 13),
            "YT" + digits(chooser, 13),
            "1Z999AA1" + digits(chooser, 10),
            "JD00" + digits(chooser, 11),
            f"RB{digits(chooser, 9)}CN",
        ]
    )


def _internal_ip(chooser: random.Random) -> str:
    return chooser.choice(
        [
            f"10.{chooser.randint(0, 255)}.{chooser.randint(0, 255)}.7",
            "127.0.0.1:8000",
            "192.168.1.20",
            "[::1]:80",
        ]
    )


def _identifier(chooser: random.Random) -> str:
    hexadecimal = "0123456789abcdef"
    return chooser.choice(
        [
            in_groups(letters(chooser, 32, hexadecimal), (8, 4, 4, 4), "-"),
            "req_" + letters(chooser, 32, hexadecimal),
            "chatcmpl-" + letters(chooser, 24, hexadecimal),
            "sha256:" + letters(chooser, 64, hexadecimal),
        ]
    )


def _product(chooser: random.Random) -> str:
    return chooser.choice(
        [
            f"RP-{digits(chooser, 4)}",
            f"E5-{digits(chooser, 4)}",
            f"iPhone 15, {digits(chooser, 3)} GB",
            f"SKU{digits(chooser, 7)}",
            f"978-7-{digits(chooser, 3)}-{digits(chooser, 5)}-{digits(chooser, 1)}",
        ]
    )


def _small(chooser: random.Random) -> str:
    return chooser.choice(
        ["10086", "95588", "16:9", "3 to 5", f"{chooser.randint(1, 99)} %", "100000", "110"]
    )


NEAR_MISSES: dict[str, Make] = {
    "order number with a date": lambda chooser: (
        made.born(chooser)[:2].replace("19", "20")
        + f"2{chooser.randint(0, 9)}"
        + f"{chooser.randint(1, 12):02}{chooser.randint(1, 28):02}"
        + digits(chooser, chooser.choice((6, 8)))
    ),
    "order number at random": lambda chooser: (
        chooser.choice("123456789") + digits(chooser, chooser.choice((9, 11, 17, 18)))
    ),
    "amount": _amount,
    "date": _date,
    "version": _version,
    "tracking number": _tracking,
    "internal address": _internal_ip,
    "identifier": _identifier,
    "product": _product,
    "small number": _small,
    "identity with a wrong check": _wrong(made.identity, "0123456789X"),
    "card with a wrong check": _wrong_card,
    "credit code with a wrong check": _wrong(made.credit_code),
    "IBAN with a wrong check": _wrong(made.iban),
    "longer than a phone": lambda chooser: made.mobile(chooser) + chooser.choice(["0", "7", "x5", ".50"]),
}


def samples(seed: int, each: int) -> Iterator[Sample]:
    """`each` samples of every kind; the same seed gives the same."""
    chooser = random.Random(seed)
    for kind, make in VALUES.items():
        for number in range(each):
            before, after = FRAMES[number % len(FRAMES)]
            yield Sample(kind, before, _write(kind, make(chooser), chooser), after)
    for kind, make in NEAR_MISSES.items():
        for number in range(each):
            before, after = FRAMES[number % len(FRAMES)]
            yield Sample(kind, before + make(chooser) + after, "", "")
