"""Slot filling: no brace is left and question and answer name the same fresh entity."""

import random
import re
from pathlib import Path

import pytest

from workshop import bitext
from workshop.bitext import Support
from workshop.slots import Facts, fact_of, fill, renew


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("Customer Support Phone Number", "phone"),
        ("Customer Support Hours", "hours"),
        ("Support Email Address", "email"),
        ("Website Name", "website"),
        ("Live Chat", "chat"),
        ("Cancel Order", None),
        ("number of days", None),
    ],
)
def test_facts_and_buttons_are_told_apart(name: str, fact: str | None) -> None:
    assert fact_of(name) == fact


@pytest.mark.parametrize("seed", range(20))
def test_question_and_answer_share_a_fresh_number(seed: int) -> None:
    row = Support(
        "cancel order 00004587345", "Order 4587345 ({{Order Number}}): {{Edit}}.", "c", "order_id", "4587345"
    )
    question, answer = (turn.content for turn in bitext.exchange(row, Facts(), random.Random(seed)))
    number = question.removeprefix("cancel order ")
    assert answer == f"Order {number} ({number}): Edit."
    assert "4587345" not in question


def test_cut_order_numbers_are_renewed_whole() -> None:
    fresh = renew("order_id", "3707955617", random.Random(0))
    assert "370795561790" not in fresh("where is order 370795561790")


@pytest.mark.parametrize("seed", range(10))
def test_no_brace_is_left(seed: int, data: Path) -> None:
    rng = random.Random(seed)
    for row in bitext.read_support(data):
        for message in bitext.conversation(row, rng):
            assert not re.search(r"[{}\[\]\r]", message.content)


def test_stated_facts_are_used() -> None:
    text = fill("Call {{Customer Support Phone Number}}.", Facts({"phone": "555-0199"}), "", random.Random(0))
    assert text == "Call 555-0199."


def test_unstated_facts_are_worded_neutrally() -> None:
    assert "our our" not in fill("on our {{Website Name}}", Facts(), "", random.Random(0))
