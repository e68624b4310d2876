"""Test rows of Banking77 against all 77 labels on `/v1/classify`: accuracy and median latency.

    python -m loadtests.banking77 --csv ../shared/data/banking77/test.csv --base-url http://127.0.0.1:8000

The file has the columns `text` and `category`. Labels are sent as words, in alphabetical order; rows go one after
another, so the first pays for a prompt that the prefix cache then shares.
"""

import csv
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openai import BaseModel, OpenAI

from loadtests.running_service import connect, parser

DATA = Path("../shared/data/banking77/test.csv")


@dataclass(frozen=True)
class Row:
    """A customer's text and its intent."""

    text: str
    label: str


class _Result(BaseModel):
    label: str


class _Answer(BaseModel):
    data: list[_Result]


def read_rows(path: Path) -> list[Row]:
    """The rows of a Banking77 file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(row["text"], row["category"].replace("_", " ")) for row in csv.DictReader(file)]


def classify(client: OpenAI, model: str, text: str, labels: Sequence[str]) -> tuple[str, float]:
    """The label that the service finds most likely, and the seconds that it took."""
    body = {"model": model, "input": text, "labels": labels, "instructions": "intent", "top_k": 1}
    started = time.perf_counter()
    answer = client.post("/classify", cast_to=_Answer, body=body)
    seconds = time.perf_counter() - started
    (result,) = answer.data
    return result.label, seconds


def main(arguments: Sequence[str]) -> None:
    """Classify and print."""
    command = parser(__doc__)
    command.add_argument("--csv", type=Path, default=DATA)
    command.add_argument("--rows", type=int, default=20)
    command.add_argument("--seed", type=int, default=77, help="of the choice of rows")
    options = command.parse_args(arguments)
    rows = read_rows(options.csv)
    labels = sorted({row.label for row in rows})
    sample = random.Random(options.seed).sample(rows, options.rows)
    client, model = connect(options.base_url)
    with client:
        found = [classify(client, model, row.text, labels) for row in sample]
    right = sum(label == row.label for row, (label, _) in zip(sample, found, strict=True))
    p50 = statistics.median(seconds for _, seconds in found) * 1e3
    print(f"{model}, {len(labels)} labels, seed {options.seed}")
    print(f"accuracy {right / len(sample):.0%} ({right} of {len(sample)}), p50 {p50:.1f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
