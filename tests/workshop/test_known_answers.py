"""The file of known answers: filled, out of the rows trained on, the same at each call."""

import csv
import gzip
import json
from argparse import Namespace
from pathlib import Path

from workshop.known_answers import FILE, known_answers, run
from workshop.rows import held_out


def test_only_answers_that_were_trained_on(tmp_path: Path) -> None:
    (tmp_path / "bitext").mkdir()
    questions = [f"question {number}" for number in range(300)]
    assert any(map(held_out, questions))
    columns = ["instruction", "response", "intent", "entity_type", "entity_value"]
    for name in ("qa_4514", "qa_short_6480"):
        with gzip.open(tmp_path / "bitext" / f"{name}.csv.gz", "wt", newline="") as stream:
            rows = [[question, f"Answer to {question}.", "a", "", ""] for question in questions]
            csv.writer(stream).writerows([columns, *rows])
    answers = known_answers(tmp_path, 1000)
    assert set(answers) == {f"Answer to {question}." for question in questions if not held_out(question)}


def test_intents_take_turns_and_nothing_is_left_open(data: Path, tmp_path: Path) -> None:
    answers = known_answers(data, 2)
    assert answers == known_answers(data, 2)
    assert any("cancel order" in answer for answer in answers[:2]) and "website" in " ".join(answers[:2])
    assert not any("{{" in answer for answer in answers)
    run(Namespace(data=data, count=2, target=tmp_path))
    assert [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()] == answers
