"""Recall and precision of the masking on its three sets, and that the judge sees what is wrong."""

import random
from collections.abc import Callable

import pytest

from app.masking.check_digits import is_account, is_credit_code, is_resident_identity, passes_luhn
from loadtests.reliability import identifiers, masking_figures, masking_forms, masking_held_back, masking_set
from loadtests.reliability.masking_figures import PRECISION, RECALL, Counts, count
from loadtests.reliability.masking_set import Sample

SETS = {"the set": masking_set, "other forms": masking_forms, "held back": masking_held_back}


@pytest.mark.parametrize("name", SETS)
def test_what_was_promised_is_reached(name: str) -> None:
    counts = count(SETS[name].samples(seed=11, each=150))
    assert counts.recall >= RECALL, counts.examples
    assert counts.precision >= PRECISION, counts.examples


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (identifiers.identity, is_resident_identity),
        (identifiers.card, passes_luhn),
        (identifiers.credit_code, is_credit_code),
        (identifiers.iban, is_account),
    ],
)
def test_made_up_numbers_pass_the_check_that_others_wrote(
    make: Callable[[random.Random], str], check: Callable[[str], bool]
) -> None:
    chooser = random.Random(5)
    for _ in range(200):
        value = make(chooser)
        assert check(value), value


def judged(sample: Sample, masked: str, monkeypatch: pytest.MonkeyPatch) -> Counts:
    monkeypatch.setattr(masking_figures, "mask", lambda text: masked)
    counts = Counts()
    counts.values["known"] = counts.found["known"] = 1  # so that no share divides by nothing
    counts.add(sample)
    return counts


@pytest.mark.parametrize(
    ("masked", "found", "wrongly"),
    [
        ("call [phone] now", 2, 0),
        ("call ([phone]) now", 2, 0),
        ("call 13812345678 now", 1, 0),
        ("call [phone]5678 now", 1, 0),
        ("[phone] now", 2, 1),
        ("call [phone]", 2, 1),
        ("[x] 13812345678 now", 1, 0),
    ],
)
def test_a_value_counts_as_found_only_where_nothing_of_it_is_left(
    masked: str, found: int, wrongly: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = judged(Sample("phone", "call ", "13812345678", " now"), masked, monkeypatch)
    assert (counts.found.total(), counts.wrongly) == (found, wrongly)


def test_a_near_miss_that_is_taken_costs_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = judged(Sample("order", "order 1381234567 now", "", ""), "order [phone] now", monkeypatch)
    assert (counts.precision, counts.taken["order"]) == (50.0, 1)


def test_the_command_fails_without_the_masking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert masking_figures.main(["--each", "150"]) == 0
    assert "recall" in capsys.readouterr().out
    monkeypatch.setattr(masking_figures, "mask", lambda text: text)
    assert masking_figures.main(["--each", "150"]) == 1
