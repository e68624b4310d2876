"""Check digits, against published examples, and one wrong character in each."""

from collections.abc import Callable

import pytest

from app.masking.check_digits import (
    is_account,
    is_credit_code,
    is_first_resident_identity,
    is_resident_identity,
    passes_luhn,
)


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (passes_luhn, "4111111111111111"),
        (passes_luhn, "378282246310005"),
        (is_resident_identity, "11010519491231002X"),
        (is_credit_code, "91350100M000100Y43"),
        (is_account, "GB82WEST12345698765432"),
        (is_account, "DE89370400440532013000"),
    ],
)
def test_each_wrong_last_digit_is_found(check: Callable[[str], bool], right: str) -> None:
    assert check(right)
    for digit in "0123456789":
        assert check(right[:-1] + digit) == (digit == right[-1])


def test_a_day_of_birth_that_does_not_exist_is_none() -> None:
    assert not is_resident_identity("11010519490231002X")


def test_a_number_of_fifteen_digits_is_an_identity_by_its_region_day_and_serial() -> None:
    assert is_first_resident_identity("110105491231002") and is_first_resident_identity("659001200229001")
    wrong = ("160105491231002", "110005491231002", "110100491231002", "117805491231002")  # regions
    wrong += (
        "110105490229002",
        "110105491301002",
        "110105190101002",
        "110105491231000",
    )  # days, and a serial
    assert not any(map(is_first_resident_identity, wrong))
