"""Tests of generated answers: on topic, numbers copied, facts used, clean and ended."""

import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from workshop import bitext, inventions
from workshop.encode import Encoder, Message
from workshop.evaluation.judge import Judge
from workshop.packing import pack
from workshop.rows import read_csv
from workshop.slots import Facts, renew
from workshop.tokenizer import PAD, TURN_END
from workshop.trainer import weighted_loss

LONGEST = 400
# Wordings that the training mixture does not contain.
SYSTEM = "You work at the help desk of {company}. Telephone {phone}. Opening times {hours}."
ASKED = {
    "phone": (
        "Could you tell me which number I should dial?",
        "I'd rather talk on the phone, what's the number?",
        "Do you have a telephone number?",
        "how do I reach you by phone?",
    ),
    "hours": (
        "What are your hours?",
        "At what times are you open?",
        "When is somebody there?",
        "could you tell me your opening times please",
    ),
}


@dataclass(frozen=True)
class Answer:
    """A generated answer and whether the model ended it itself."""

    text: str
    ended: bool

    @property
    def clean(self) -> bool:
        """No placeholder, no control text, ended, and no line or run of words again and again."""
        words = self.text.split()
        runs = Counter(zip(*(words[shift:] for shift in range(6)), strict=False))
        loops = max(runs.values(), default=0) > 3
        return self.ended and not loops and bool(words) and not re.search(r"\{\{|\}\}|<\|", self.text)


@torch.no_grad()
def generate(model: PreTrainedModel, encoder: Encoder, prompts: list[list[Message]]) -> list[Answer]:
    """Greedy answers, in batches of 16 with padding on the left."""
    answers: list[Answer] = []
    ids = [encoder.conversation(prompt).trunk.ids + encoder.header("assistant") for prompt in prompts]
    for start in range(0, len(ids), 16):
        part = ids[start : start + 16]
        width = max(map(len, part))
        rows = torch.tensor([[PAD] * (width - len(one)) + one for one in part])
        output = model.generate(
            input_ids=rows,
            attention_mask=(rows != PAD).long(),
            do_sample=False,
            max_new_tokens=LONGEST,
            eos_token_id=TURN_END,
            pad_token_id=PAD,
        )
        for row in output[:, width:].tolist():
            ended = TURN_END in row
            answers.append(Answer(encoder.decode(row[: row.index(TURN_END)] if ended else row), ended))
    return answers


def perplexity(model: PreTrainedModel, encoder: Encoder, data: Path) -> tuple[float, int]:
    """Perplexity of the reference answers that were kept out of training, and how many there are."""
    rng = random.Random(5)
    trees = [
        encoder.conversation(list(bitext.exchange(row, Facts(), rng)))
        for row in bitext.read_support(data, test=True)
    ]
    trees = [tree for tree in trees if len(tree) <= 1024]
    total, tokens = 0.0, 0
    with torch.no_grad():
        for tree in trees:
            batch = pack([[tree]], len(tree))
            count = int((batch.targets()[2] == 1.0).sum())
            total += weighted_loss(model, batch, model.model)[1] * count
            tokens += count
    return float(torch.tensor(total / tokens).exp()), len(trees)


def on_topic(
    model: PreTrainedModel, encoder: Encoder, data: Path, rows: int
) -> tuple[float, float, list[Answer]]:
    """Share of answers with the right intent, the judge's own share on reference answers, and the answers."""
    train = bitext.read_support(data)
    judge = Judge([row.answer for row in train], [row.intent for row in train])
    test = bitext.read_support(data, test=True)
    truth = [row.intent for row in test]
    own = sum(a == b for a, b in zip(judge.label([row.answer for row in test]), truth, strict=True)) / len(
        test
    )
    rng = random.Random(6)
    asked = rng.sample(test, min(rows, len(test)))
    answers = generate(model, encoder, [[bitext.exchange(row, Facts(), rng)[0]] for row in asked])
    labels = judge.label([answer.text for answer in answers])
    return sum(a == row.intent for a, row in zip(labels, asked, strict=True)) / len(asked), own, answers


def numbers_copied(
    model: PreTrainedModel, encoder: Encoder, data: Path, rows: int
) -> tuple[float, float, list[Answer]]:
    """Of the answers that name a number, the share that names the customer's; the share that names one."""
    rng = random.Random(7)
    table = [row for row in read_csv(data / "bitext" / "intent_test.csv") if row["entity_type"] == "order_id"]
    asked = []
    for row in rng.sample(table, min(rows, len(table))):
        fresh = renew("order_id", row["entity_value"], rng)
        asked.append((fresh(row["utterance"].strip()), fresh(row["entity_value"])))
    answers = generate(model, encoder, [[Message("user", question)] for question, _ in asked])
    named = [
        (set(re.findall(r"[\w#-]*\d{3}[\w-]*", answer.text)), number)
        for answer, (_, number) in zip(answers, asked, strict=True)
    ]
    naming = [(found, number.lstrip("#")) for found, number in named if found]
    right = sum({one.lstrip("#") for one in found} == {number} for found, number in naming)
    return right / max(1, len(naming)), len(naming) / len(asked), answers


def facts_used(model: PreTrainedModel, encoder: Encoder, rows: int) -> tuple[float, list[Answer]]:
    """Share of answers that state the phone number or the hours of the system message, in unseen wordings."""
    rng = random.Random(8)
    prompts, wanted = [], []
    for number in range(rows):
        fact = ("phone", "hours")[number % 2]
        values = {name: inventions.FACTS[name](rng) for name in ("company", "phone", "hours")}
        prompts.append([Message("system", SYSTEM.format(**values)), Message("user", rng.choice(ASKED[fact]))])
        wanted.append(values[fact])
    answers = generate(model, encoder, prompts)
    return sum(value in answer.text for value, answer in zip(wanted, answers, strict=True)) / rows, answers
