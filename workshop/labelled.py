"""The labelled sets: texts with their labels, for training, development and test."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workshop.rows import held_out, normal, read_csv, read_jsonl


@dataclass(frozen=True)
class Example:
    """A text and the labels that apply; most sets have exactly one."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class LabelSet:
    """A named set of examples; `task` is a key of the task words; `outside` texts fit no label."""

    name: str
    task: str
    examples: list[Example]
    outside: tuple[str, ...] = ()

    @cached_property
    def names(self) -> list[str]:
        """All labels, sorted."""
        return sorted({label for example in self.examples for label in example.labels})

    @cached_property
    def by_label(self) -> dict[str, list[Example]]:
        """The examples of each label."""
        found: dict[str, list[Example]] = defaultdict(list)
        for example in self.examples:
            for label in example.labels:
                found[label].append(example)
        return dict(found)


def _single(path: Path, text: str, label: str, banned: set[str]) -> list[Example]:
    return [
        Example(row[text].strip(), (row[label].strip(),))
        for row in read_csv(path)
        if row[text].strip() and row[label].strip() and normal(row[text]) not in banned
    ]


def banking77(data: Path, split: str, banned: set[str]) -> LabelSet:
    """77 intents of bank customers; split is train or test."""
    name = "train.csv.gz" if split == "train" else "test.csv"
    return LabelSet("banking77", "intent", _single(data / "banking77" / name, "text", "category", banned))


def clinc150(data: Path, split: str, banned: set[str]) -> LabelSet:
    """150 intents and texts outside of all of them; split is train, val or test."""
    name = "train.csv.gz" if split == "train" else f"{split}.csv"
    outside = tuple(row["text"] for row in read_csv(data / "clinc150" / f"oos_{split}.csv"))
    return LabelSet(
        "clinc150", "intent", _single(data / "clinc150" / name, "text", "intent", banned), outside
    )


def hwu64(data: Path, split: str, banned: set[str]) -> LabelSet:
    """64 intents of home assistant users; split is train or test."""
    path = data / "hwu64" / f"kfold1_{split}.csv.gz"
    return LabelSet("hwu64", "intent", _single(path, "text", "intent", banned))


def snips(data: Path) -> LabelSet:
    """7 intents of voice assistants, never trained on: the label set the model has not seen."""
    return LabelSet("snips", "intent", _single(data / "snips" / "validate.csv.gz", "text", "intent", set()))


def bitext_intents(data: Path, split: str, banned: set[str]) -> LabelSet:
    """27 support intents; split is train, dev or test. Training adds the longer list of instructions."""
    examples = _single(data / "bitext" / f"intent_{split}.csv", "utterance", "intent", banned)
    if split == "train":
        more = _single(
            data / "bitext" / "instructions_26872.csv.gz", "instruction", "intent_reconstructed", banned
        )
        examples += [example for example in more if "{{" not in example.text and not held_out(example.text)]
    return LabelSet("bitext", "intent", examples)


def goemotions(data: Path, split: str, column: str = "sentiment_group") -> LabelSet:
    """Comments with one clear sentiment (or, by column, 28 emotions); split is train, dev or test."""
    rows = read_csv(data / "goemotions" / f"{split}.csv.gz")
    kept = [Example(row["text"].strip(), tuple(row[column].split("|"))) for row in rows if row[column]]
    if column == "sentiment_group":
        kept = [example for example in kept if len(example.labels) == 1 and example.labels[0] != "ambiguous"]
        return LabelSet("goemotions", "sentiment", kept)
    return LabelSet("emotions", "emotion", kept)


def reviews(data: Path, banned: set[str]) -> LabelSet:
    """Short positive, negative and neutral statements about products and films."""
    examples = [
        example
        for path in (
            "pros_cons/phrases.csv.gz",
            "product_reviews/sentences.csv.gz",
            "sentence_polarity/sentences.csv.gz",
        )
        for example in _single(data / path, "text", "sentiment", banned)
        if example.labels[0] != "mixed" and len(example.text) < 220
    ]
    return LabelSet("reviews", "sentiment", examples)


def nlupp(data: Path) -> LabelSet:
    """Bank and hotel requests with any number of 62 general intents."""
    rows = [row for name in ("banking", "hotels") for row in read_jsonl(data / "nlupp" / f"{name}.jsonl.gz")]
    return LabelSet("nlupp", "intent", [Example(row["text"].strip(), tuple(row["intents"])) for row in rows])


def test_texts(data: Path) -> set[str]:
    """Every text of a test file, in normal form: no training example may equal one."""
    sets = [
        banking77(data, "test", set()),
        clinc150(data, "test", set()),
        goemotions(data, "test"),
        bitext_intents(data, "test", set()),
        hwu64(data, "test", set()),
    ]
    return {normal(example.text) for one in sets for example in one.examples}
