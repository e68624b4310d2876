"""Check digits: which rows of digits are cards, identities or accounts, and which are only numbers."""

import re
from datetime import date
from itertools import cycle

_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS = "10X98765432"
_REGION = re.compile(
    "(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5])"  # province
    "(?:0[1-9]|[1-6][0-9]|70|90)"  # city or prefecture
    "(?:0[1-9]|[1-9][0-9])"  # district or county
)
"""As GB/T 2260 numbers them. Which of these there were changed by the year, so their form is all that is asked."""
_CREDIT_CODE_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def passes_luhn(digits: str) -> bool:
    """The sum of ISO/IEC 7812-1, annex B: each second digit from the right but one counts twice, its digits added."""
    doubled = (int(digit) * factor for digit, factor in zip(reversed(digits), cycle((1, 2)), strict=False))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_resident_identity(text: str) -> bool:
    """Whether 18 characters are a number of GB 11643: a date of birth that exists, a check by ISO 7064 mod 11-2."""
    try:
        date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(text[:17], _RESIDENT_WEIGHTS, strict=True))
    return _RESIDENT_CHECKS[total % 11] == text[17].upper()


def is_first_resident_identity(text: str) -> bool:
    """Whether 15 digits are an identity number as given out until 1999: a region, a day of birth and a serial number.

    There is no check digit. Births before 1920 are left out: their years would be the hours of a time.
    """
    try:
        born = date(1900 + int(text[6:8]), int(text[8:10]), int(text[10:12]))
    except ValueError:
        return False
    return born.year >= 1920 and text[12:] != "000" and _REGION.fullmatch(text[:6]) is not None


def is_credit_code(text: str) -> bool:
    """Whether 18 characters are a unified social credit code (GB 32100): weights are powers of 3 modulo 31."""
    values = [_CREDIT_CODE_ALPHABET.find(character) for character in text]
    total = sum(value * pow(3, index, 31) for index, value in enumerate(values[:17]))
    return (31 - total % 31) % 31 == values[17]


def is_account(text: str) -> bool:
    """Whether letters and digits are an IBAN (ISO 13616): the first four moved to the end leave 1 modulo 97.

    Check digits are computed as 98 less a remainder, so that 00, 01 and 99 are never among them.
    """
    moved = text[4:] + text[:4]
    spelled = "".join(str(int(character, 36)) for character in moved)
    return text[2:4] not in ("00", "01", "99") and int(spelled) % 97 == 1
