"""Question and answer rows of the Bitext support data, filled with fresh entities and business facts."""

import random
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from workshop.encode import Message
from workshop.rows import held_out, read_csv
from workshop.slots import Facts, fill, renew, used_facts
from workshop.systems import fact_system, plain_system

# Answers whose generator left its own notes or unnamed blanks in.
UNFINISHED = re.compile(r"\[[a-z]|INSTRUCTIONS")
# Canned answers with a made-up address or number: learnt by heart they would be told to every customer.
STOCK_CONTACT = re.compile(r"@|\d{3}")


@dataclass(frozen=True)
class Support:
    """One support question with its upstream answer, placeholders and stock entity still in place."""

    question: str
    answer: str
    intent: str
    kind: str
    entity: str

    @property
    def copies(self) -> bool:
        """Whether the answer repeats the entity of the question."""
        return bool(self.entity) and self.entity in self.answer


def read_support(data: Path, *, test: bool = False) -> list[Support]:
    """The rows for training, or with `test` the rows kept out of it."""
    rows = read_csv(data / "bitext" / "qa_4514.csv.gz")
    return [
        Support(
            row["instruction"].strip(),
            row["response"].strip(),
            row["intent"],
            row["entity_type"],
            row["entity_value"],
        )
        for row in rows
        if held_out(row["instruction"]) == test and not UNFINISHED.search(row["response"])
    ]


def read_short(data: Path) -> list[Support]:
    """The canned one-paragraph answers, for the turns of longer conversations."""
    rows = read_csv(data / "bitext" / "qa_short_6480.csv.gz")
    return [
        Support(row["instruction"].strip(), row["response"].strip(), row["intent"], "", "")
        for row in rows
        if not held_out(row["instruction"])
        and not row["entity_value"]
        and row["response"].strip()
        and not STOCK_CONTACT.search(row["response"])
    ]


def exchange(row: Support, facts: Facts, rng: random.Random, entity: str = "") -> tuple[Message, Message]:
    """Question and answer with the same entity in both: the one given, else a fresh one."""
    fresh = renew(row.kind, row.entity, rng, entity)
    question = fresh(row.question)
    number = fresh(row.entity) if row.kind in ("order_id", "invoice_id") else ""
    return Message("user", question), Message("assistant", fill(fresh(row.answer), facts, number, rng))


def conversation(row: Support, rng: random.Random) -> list[Message]:
    """A single exchange; in three of ten the system message states the facts the answer uses."""
    needed = used_facts(row.answer)
    if needed and rng.random() < 0.35:
        facts = Facts.draw(rng)
        stated = list(dict.fromkeys(needed + rng.sample(list(facts.values), rng.randint(1, 3))))
        shown = Facts({name: facts.values[name] for name in stated})
        return [fact_system(shown, rng), *exchange(row, shown, rng)]
    return [*plain_system(rng), *exchange(row, Facts(), rng)]


def phrasings(data: Path) -> dict[str, list[str]]:
    """Other wordings of each intent's question that name no entity."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in read_csv(data / "bitext" / "instructions_26872.csv.gz"):
        text = row["instruction"].strip()
        if "{{" not in text and not held_out(text):
            found[row["intent_reconstructed"]].append(text)
    return dict(found)
