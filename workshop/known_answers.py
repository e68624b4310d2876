"""The answers command: writes the answers that the service takes drafts from, out of those trained on."""

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path

from workshop import bitext
from workshop.slots import Facts

FILE = "answers.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `workshop answers`."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=1000, help="answers to long questions")
    parser.add_argument("target", type=Path, help="the model folder")


def run(arguments: argparse.Namespace) -> None:
    """Writes the file, one JSON string a line."""
    answers = known_answers(arguments.data, arguments.count)
    lines = [json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers]
    (arguments.target / FILE).write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} answers, {sum(map(len, lines))} characters")


def known_answers(data: Path, count: int) -> list[str]:
    """`count` support answers that were trained on, as many of each intent as there are, and all short ones.

    Placeholders are worded neutrally, as in training where no facts are stated. Four times as many make the embedded
    model's drafts hardly longer.
    """
    rng = random.Random(3)
    by_intent = defaultdict(list)
    rows = bitext.read_support(data)
    rng.shuffle(rows)
    for row in rows:
        by_intent[row.intent].append(row)
    turns = [(place, row) for group in by_intent.values() for place, row in enumerate(group)]
    chosen = [row for _, row in sorted(turns, key=lambda turn: turn[0])[:count]]
    short = list({row.answer: row for row in bitext.read_short(data)}.values())
    return [bitext.exchange(row, Facts(), rng)[1].content for row in chosen + short]
