"""Conversations about one order: the number of the first turn is in every answer that names one."""

import random
import re
from pathlib import Path

from workshop import bitext
from workshop.one_order import AGAIN, OneOrder


def test_every_answer_about_the_order_has_its_number(data: Path) -> None:
    talks = OneOrder(bitext.read_support(data), bitext.read_short(data))
    later = {wording for wordings in AGAIN.values() for wording in wordings}
    rng, answered = random.Random(1), 0
    for _ in range(50):
        turns = [turn for turn in talks.draw(rng) if turn.role != "system"]
        assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2)
        numbers = {n for turn in turns[1::2] for n in re.findall(r"#?[A-Z]*-?\d+", turn.content)}
        assert len(numbers) == 1
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            if question.content in later:
                assert next(iter(numbers)) in answer.content
                answered += 1
    assert answered
