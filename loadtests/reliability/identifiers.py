"""Made-up numbers that are valid by their standards, with check digits computed here and not by what looks for them.

None is of anybody: digits are drawn, and a check digit is added. For measuring what the log masks, and what it leaves.
"""

import random
import string
from datetime import date, timedelta

_RESIDENT_CHECKS = "10X98765432"
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_PROVINCES = ("11", "31", "32", "33", "37", "42", "44", "50", "51", "61")
_BANKS = ("4", "51", "55", "2221", "2720", "34", "37", "62", "6011")
_IBAN_LENGTHS = {"DE": 18, "GB": 18, "FR": 23, "NL": 14, "ES": 20, "CH": 17}
"""Characters behind the two letters and two check digits."""


def digits(chooser: random.Random, count: int) -> str:
    """So many digits."""
    return "".join(chooser.choices(string.digits, k=count))


def letters(chooser: random.Random, count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """So many characters of an alphabet."""
    return "".join(chooser.choices(alphabet, k=count))


def in_groups(text: str, sizes: tuple[int, ...], separator: str) -> str:
    """The text cut into groups; what the sizes leave over is the last one."""
    parts, position = [], 0
    for size in sizes:
        parts.append(text[position : position + size])
        position += size
    return separator.join([part for part in (*parts, text[position:]) if part])


def mobile(chooser: random.Random) -> str:
    """Eleven digits of a mobile phone of mainland China."""
    return "1" + chooser.choice("3456789") + digits(chooser, 9)


def born(chooser: random.Random) -> str:
    """A day of birth, `YYYYMMDD`."""
    return (date(1940, 1, 1) + timedelta(days=chooser.randrange(27_000))).strftime("%Y%m%d")


def resident_check(seventeen: str) -> str:
    """The last character of a resident identity number: ISO 7064, modulus 11-2."""
    total = sum(int(digit) * pow(2, 17 - index, 11) for index, digit in enumerate(seventeen))
    return _RESIDENT_CHECKS[total % 11]


def identity(chooser: random.Random) -> str:
    """A resident identity number of 18 characters (GB 11643)."""
    seventeen = chooser.choice(_PROVINCES) + digits(chooser, 4) + born(chooser) + digits(chooser, 3)
    return seventeen + resident_check(seventeen)


def first_identity(chooser: random.Random) -> str:
    """A resident identity number of 15 digits, as given out until 1999."""
    city, county = chooser.randint(1, 30), chooser.randint(1, 40)
    day = date(1930, 1, 1) + timedelta(days=chooser.randrange(25_000))
    serial = chooser.randint(1, 999)
    return f"{chooser.choice(_PROVINCES)}{city:02}{county:02}{day:%y%m%d}{serial:03}"


def joined_landline(chooser: random.Random) -> str:
    """A landline of mainland China without a separator: an area code of three or four digits, and seven or eight."""
    area, count = chooser.choice(
        (("010", 8), ("021", 8), ("0755", 8), ("0571", 8), ("0898", 8), ("0991", 7), ("0431", 8))
    )
    return area + chooser.choice("2345678") + digits(chooser, count - 1)


def luhn_check(payload: str) -> str:
    """The check digit behind a payload."""
    total = 0
    for index, digit in enumerate(reversed(payload)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value // 10 + value % 10
    return str(-total % 10)


def card(chooser: random.Random) -> str:
    """A payment card: 16 digits, 15 of American Express, 16 or 19 of UnionPay."""
    issuer = chooser.choice(_BANKS)
    length = 15 if issuer in ("34", "37") else chooser.choice((16, 19)) if issuer == "62" else 16
    payload = issuer + digits(chooser, length - len(issuer) - 1)
    return payload + luhn_check(payload)


def credit_code(chooser: random.Random) -> str:
    """A unified social credit code (GB 32100)."""
    place = chooser.choice(_PROVINCES) + digits(chooser, 4)
    seventeen = chooser.choice(("91", "92", "52")) + place + letters(chooser, 9, _CREDIT_ALPHABET)
    total = sum(_CREDIT_ALPHABET.index(one) * pow(3, index, 31) for index, one in enumerate(seventeen))
    return seventeen + _CREDIT_ALPHABET[-total % 31]


def iban(chooser: random.Random) -> str:
    """An account number of ISO 13616."""
    country = chooser.choice(sorted(_IBAN_LENGTHS))
    rest = digits(chooser, _IBAN_LENGTHS[country])
    if country in ("GB", "NL"):
        rest = letters(chooser, 4, string.ascii_uppercase) + rest[4:]
    spelled = "".join(str(int(one, 36)) for one in f"{rest}{country}00")
    return f"{country}{98 - int(spelled) % 97:02}{rest}"


def passport(chooser: random.Random) -> str:
    """An ordinary or public passport of China, or a travel permit of Hong Kong or Macau."""
    return chooser.choice(
        [
            "E" + digits(chooser, 8),
            "E" + chooser.choice("ABCDEFGH") + digits(chooser, 7),
            "G" + digits(chooser, 8),
            chooser.choice("HM") + digits(chooser, 8),
        ]
    )


def service_passport(chooser: random.Random) -> str:
    """A passport of China for public affairs, for service or of diplomats, or one of Macau."""
    return chooser.choice(("PE", "SE", "DE", "MA")) + digits(chooser, 7)


def chinese_email(chooser: random.Random) -> str:
    """A mail address with Chinese characters on one side or both."""
    name = chooser.choice(("张三", "李小明", "欧阳修文", "客服", "王.w", "zhang.三"))
    latin = letters(chooser, 6, string.ascii_lowercase)
    return chooser.choice(
        [
            f"{name}@example.com",
            f"{name}@mail.example.com.cn",
            f"{latin}@例子.中国",
            f"{latin}@例子.com",
            f"{name}@例子.公司",
        ]
    )


def email(chooser: random.Random) -> str:
    """A mail address at a domain that is kept for examples."""
    name = letters(chooser, chooser.randint(3, 10), string.ascii_lowercase + string.digits)
    tail = chooser.choice(
        ["", "." + letters(chooser, 4), "+" + letters(chooser, 3), "_" + digits(chooser, 2)]
    )
    return f"{name}{tail}@{chooser.choice(['example.com', 'mail.example.org', 'example.com.cn', 'a-b.example.net'])}"


def public_ipv4(chooser: random.Random) -> str:
    """Four numbers of no private, shared or reserved network."""
    return f"{chooser.choice((8, 23, 36, 58, 101, 114, 123))}." + ".".join(
        str(chooser.randint(1, 254)) for _ in range(3)
    )


def public_ipv6(chooser: random.Random) -> str:
    """Eight groups, or with the zeros left out."""
    groups = [f"{chooser.randrange(1, 1 << 16):x}" for _ in range(6)]
    return chooser.choice(["240e:" + "e1:" + ":".join(groups), f"2408:8207::{groups[0]}:{groups[1]}"])


def api_key(chooser: random.Random) -> str:
    """A key of this service or of another."""
    return chooser.choice(
        [
            "rp-" + letters(chooser, 43),
            "sk-" + letters(chooser, 48),
            "sk-proj-" + letters(chooser, 40),
            "ghp_" + letters(chooser, 36),
            "hf_" + letters(chooser, 34),
            "AKIA" + letters(chooser, 16, string.ascii_uppercase + string.digits),
            "glpat-" + letters(chooser, 20),
        ]
    )


def cloud_key(chooser: random.Random) -> str:
    """A key of Amazon, Alibaba, Tencent, npm, SendGrid, Google, Slack or DigitalOcean, as long as each makes them."""
    capitals, small = string.ascii_uppercase + "234567", "0123456789abcdef"
    url = string.ascii_letters + string.digits + "-_"
    return chooser.choice(
        [
            "ASIA" + letters(chooser, 16, capitals),
            "LTAI" + letters(chooser, 12),
            "LTAI5t" + letters(chooser, 18),
            "AKID" + letters(chooser, 32),
            "npm_" + letters(chooser, 36),
            f"SG.{letters(chooser, 22, url)}.{letters(chooser, 42, url)}A",
            "ya29.a0" + letters(chooser, 160, url) + "0163",
            "ya29.c." + letters(chooser, 120, url) + "A",
            f"xapp-1-A{letters(chooser, 10, capitals)}-{digits(chooser, 13)}-{letters(chooser, 64, small)}",
            "dop_v1_" + letters(chooser, 64, small),
        ]
    )


def web_token(chooser: random.Random) -> str:
    """A JSON Web Token: three parts, the first two of which begin as encoded JSON does."""
    return f"eyJ{letters(chooser, 33)}.eyJ{letters(chooser, 60)}.{letters(chooser, 43)}"
