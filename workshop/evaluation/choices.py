"""Tests of classification: accuracy, outside texts, unseen labels, order of the list, calibration."""

import random
from pathlib import Path

import torch
from transformers import PreTrainedModel

from workshop import labelled
from workshop.encode import Encoder
from workshop.evaluation.calibration import Scored
from workshop.evaluation.scoring import label_scores
from workshop.labelled import Example, LabelSet
from workshop.labels import NONE, choice_prompt, spaced


class Choices:
    """Scores test rows of a label set, drawn once with a fixed seed."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, data: Path, rows: int) -> None:
        self._model, self._encoder, self._data, self._rows = model, encoder, data, rows

    def _sample(self, source: LabelSet, rows: int | None = None) -> list[Example]:
        count = min(rows or self._rows, len(source.examples))
        return random.Random(3).sample(source.examples, count)

    def _score(
        self, source: LabelSet, names: list[str], examples: list[Example], *, none: bool = False
    ) -> Scored:
        shown = [spaced(name) for name in names] + ([NONE] if none else [])
        scores = label_scores(
            self._model,
            self._encoder,
            choice_prompt(source.task, shown),
            [example.text for example in examples],
            shown,
        )
        return scores, torch.tensor([names.index(example.labels[0]) for example in examples])

    def whole(self, source: LabelSet, *, none: bool = False) -> Scored:
        """Scores of a sample of the set with all its labels in the prompt, in random order."""
        names = list(source.names)
        random.Random(4).shuffle(names)
        return self._score(source, names, self._sample(source), none=none)

    def outside(self, source: LabelSet) -> torch.Tensor:
        """Scores of texts that no label fits, with the list of `whole(..., none=True)`."""
        names = list(source.names)
        random.Random(4).shuffle(names)
        shown = [*(spaced(name) for name in names), NONE]
        texts = random.Random(3).sample(source.outside, min(self._rows // 2, len(source.outside)))
        return label_scores(self._model, self._encoder, choice_prompt(source.task, shown), texts, shown)

    def unseen(self, among: int = 5, lists: int = 12) -> tuple[float, int]:
        """Accuracy with random lists of `among` labels of a set that was not trained on, and the rows."""
        source, rng = labelled.snips(self._data), random.Random(9)
        right = rows = 0
        for _ in range(lists):
            names = rng.sample(source.names, among)
            examples = [
                rng.choice(source.by_label[rng.choice(names)]) for _ in range(max(1, self._rows // lists))
            ]
            scores, truth = self._score(source, names, examples)
            right += int((scores.argmax(-1) == truth).sum())
            rows += len(examples)
        return right / rows, rows

    def stable(self, shuffles: int = 5) -> tuple[float, int]:
        """Share of texts with one answer under all orders of the list of 77 labels, and the rows."""
        source = labelled.banking77(self._data, "test", set())
        examples = self._sample(source, max(1, self._rows // 5))
        answers = []
        for seed in range(shuffles):
            names = list(source.names)
            random.Random(seed).shuffle(names)
            best = self._score(source, names, examples)[0].argmax(-1).tolist()
            answers.append([names[one] for one in best])
        same = sum(len(set(column)) == 1 for column in zip(*answers, strict=True))
        return same / len(examples), len(examples)

    def development(self) -> list[Scored]:
        """Scores of rows of development files, for the temperature."""
        sets = (
            labelled.goemotions(self._data, "dev"),
            labelled.clinc150(self._data, "val", set()),
            labelled.bitext_intents(self._data, "dev", set()),
        )
        return [self.whole(source) for source in sets]


def accuracy(scored: Scored) -> float:
    """Share of rows whose best label is the true one."""
    return float((scored[0].argmax(-1) == scored[1]).float().mean())
