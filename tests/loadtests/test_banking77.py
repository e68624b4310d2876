"""Banking77 is asked with all labels of the file, the same rows for the same seed, and its accuracy counted."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from loadtests import banking77
from tests.sse_server import Exchange, serving

pytestmark = pytest.mark.anyio
ROWS = [
    ('"Where is my card, please?"', "card_arrival"),
    ("It has not come", "card_arrival"),
    ("Money went twice", "transaction_charged_twice"),
    ("Is there a fee?", "exchange_charge"),
]


class Classifier:
    """Finds `card arrival` in every text."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    async def answer(self, exchange: Exchange) -> None:
        await exchange.begin(content_type="application/json")
        if exchange.path == "/v1/models":
            await exchange.send(b'{"data": [{"id": "m"}]}')
        else:
            self.asked.append((exchange.path, exchange.body))
            await exchange.send(json.dumps({"data": [{"label": "card arrival"}]}).encode())
        await exchange.finish()


async def run(file: Path, *options: str) -> list[tuple[str, Any]]:
    classifier = Classifier()
    async with serving(classifier.answer) as base, asyncio.timeout(60):
        await asyncio.to_thread(banking77.main, ["--csv", str(file), "--base-url", base, *options])
    return classifier.asked


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "test.csv"
    path.write_text("text,category\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    return path


async def test_the_accuracy_is_the_share_of_rows_with_their_label(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = await run(file, "--rows", "4")
    assert "3 labels" in (printed := capsys.readouterr().out)
    assert "accuracy 50% (2 of 4), p50 " in printed
    assert {path for path, _ in asked} == {"/v1/classify"}
    assert {body["input"] for _, body in asked} == {text.strip('"') for text, _ in ROWS}
    labels = ["card arrival", "exchange charge", "transaction charged twice"]
    assert all(body["labels"] == labels and body["model"] == "m" for _, body in asked)


async def test_a_seed_chooses_the_same_rows(file: Path) -> None:
    seeds = ["1", "1", "2", "3", "4"]
    first, again, *others = [
        [body["input"] for _, body in await run(file, "--rows", "2", "--seed", seed)] for seed in seeds
    ]
    assert first == again
    assert any(first != other for other in others)
