"""A tiny tokenizer, model and data folder, made on the spot."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from workshop.encode import Encoder
from workshop.presets import PRESETS, model_config
from workshop.tokenizer import train_tokenizer

TEXTS = [
    "How can I cancel order 12345? I understand that you want to cancel the order with the number 12345.",
    "Task: intent. Labels: card arrival | lost card | refund | none of these",
    "My card has not arrived yet. I want my money back. yes no user assistant system",
] * 30


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 320)


@pytest.fixture
def encoder(tokenizer: Tokenizer) -> Encoder:
    return Encoder(tokenizer)


@pytest.fixture(scope="session")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(model_config(PRESETS["tiny"])).eval()


def _table(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def _lines(path: Path, objects: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as stream:
        stream.writelines(json.dumps(one) + "\n" for one in objects)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a few rows in every file the mixture reads."""
    root = tmp_path_factory.mktemp("data")
    answer = (
        "I see you want to cancel order 4587345. Call {{Customer Support Phone Number}} or use {{Live Chat}}."
    )
    support = ["instruction", "response", "intent", "entity_type", "entity_value"]
    rows = [
        [f"cancel order 00004587345 {n}", answer, "cancel_order", "order_id", "4587345"] for n in range(8)
    ]
    rows += [
        [f"how do I get a refund {n}", "Visit our {{Website Name}}.", "get_refund", "", ""] for n in range(8)
    ]
    _table(root / "bitext/qa_4514.csv.gz", support, rows)
    _table(root / "bitext/qa_short_6480.csv.gz", support, rows[8:])
    wordings = [[f"{verb} my money {n}", "get_refund"] for n in range(4) for verb in ("give", "want")]
    _table(root / "bitext/instructions_26872.csv.gz", ["instruction", "intent_reconstructed"], wordings)
    pairs = [
        [f"{label} text {n}", label] for label in ("card_arrival", "lost_card", "top_up") for n in range(5)
    ]
    for path, columns in (
        ("bitext/intent_train.csv", ["utterance", "intent"]),
        ("banking77/train.csv.gz", ["text", "category"]),
        ("clinc150/train.csv.gz", ["text", "intent"]),
        ("hwu64/kfold1_train.csv.gz", ["text", "intent"]),
    ):
        _table(root / path, columns, pairs)
    for path, columns in (
        ("bitext/intent_test.csv", ["utterance", "intent"]),
        ("banking77/test.csv", ["text", "category"]),
        ("clinc150/test.csv", ["text", "intent"]),
        ("hwu64/kfold1_test.csv.gz", ["text", "intent"]),
    ):
        _table(root / path, columns, [["kept out", "lost_card"]])
    for split in ("train", "test"):
        _table(root / f"clinc150/oos_{split}.csv", ["text", "intent"], [["how is my driving", "oos"]])
        feelings = [
            ["so nice", "joy", "positive"],
            ["so bad", "anger", "negative"],
            ["it is", "neutral", "neutral"],
        ]
        _table(root / f"goemotions/{split}.csv.gz", ["text", "emotions", "sentiment_group"], feelings)
    for path in ("pros_cons/phrases", "product_reviews/sentences", "sentence_polarity/sentences"):
        moods = [["good", "positive"], ["bad", "negative"], ["a phone", "neutral"]]
        _table(root / f"{path}.csv.gz", ["text", "sentiment"], moods)
    for name in ("banking", "hotels"):
        intents = [{"text": f"{one} please", "intents": [one]} for one in ("card", "refund")]
        _lines(root / f"nlupp/{name}.jsonl.gz", intents)
    _table(root / "chitchat_professional/qa.csv.gz", ["question", "answer"], [["you ok?", "Great, thanks."]])
    turns = [{"s": "u", "t": "one tea"}, {"s": "a", "t": "sure"}]
    _lines(root / "taskmaster4/dialogues.jsonl.gz", [{"turns": turns}])
    _lines(root / "star/dialogues.jsonl.gz", [{"complete": True, "turns": turns}])
    faq = [["hotel", "0", "INN", f"Question {n}?", f"Answer {n}."] for n in range(5)]
    _table(
        root / "dstc9_knowledge/faq.csv.gz", ["domain", "entity_id", "entity_name", "question", "answer"], faq
    )
    return root
