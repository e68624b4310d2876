"""Bodies of `POST /v1/classify`: one or many texts, one list of labels."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from app.api.schemas.base import LETS_GO, NotBlank, StrictModel, documented
from app.api.schemas.decisions import DecisionsUsage
from app.services.decisions import DecisionService, Judgement
from app.services.questions import LABEL_RULE, LEAST_CHOICES, Label, Question, checked_labels


class LabelSpec(StrictModel):
    """A label and what it means."""

    label: NotBlank
    description: str | None = None


class ClassifyRequest(StrictModel):
    """Texts and labels.

    `threshold` leaves `label` null where no score reaches it; `top_k` shortens `scores`; with `multi_label`
    every label gets its own yes/no probability and `labels` lists those that reach the threshold (0.5).
    """

    model: str
    input: NotBlank | Annotated[list[NotBlank], Field(min_length=1, fail_fast=True)]
    labels: Annotated[
        Annotated[list[NotBlank], Field(fail_fast=True), documented(minItems=1)]
        | Annotated[list[Annotated[LabelSpec, LETS_GO]], Field(fail_fast=True), documented(minItems=1)],
        Field(description=LABEL_RULE),
    ]
    instructions: Annotated[str, Field(min_length=1, pattern=r"\S")] | None = None
    multi_label: bool = False
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    task: str | None = None

    @property
    def texts(self) -> list[str]:
        """The texts in order."""
        return [self.input] if isinstance(self.input, str) else self.input

    @property
    def names(self) -> list[str]:
        """The labels as the client wrote them."""
        return [label if isinstance(label, str) else label.label for label in self.labels]

    def questions(self, service: DecisionService) -> list[Question]:
        """What each text is asked: one question, or one for each label."""
        labels = [
            Label(label) if isinstance(label, str) else Label(label.label, label.description)
            for label in self.labels
        ]
        least = 1 if self.multi_label else LEAST_CHOICES
        checked = checked_labels(labels, "labels", least=least, most=service.max_labels)
        if not self.multi_label:
            return [Question("choice", checked, self.instructions, type="label")]
        return [
            Question("multi_label", service.yes_no(), self.instructions, label, type="label")
            for label in checked
        ]

    def result(self, index: int, judgements: Sequence[Judgement]) -> "ClassifyResult":
        """The answer about one text from the judgements of its questions."""
        if self.multi_label:
            probabilities = [judgement.probabilities[0] for judgement in judgements]
        else:
            probabilities = judgements[0].probabilities
        pairs = sorted(zip(self.names, probabilities, strict=True), key=lambda pair: -pair[1])
        threshold = 0.5 if self.multi_label and self.threshold is None else self.threshold or 0.0
        best, score = pairs[0]
        return ClassifyResult(
            index=index,
            label=best if score >= threshold else None,
            score=score,
            labels=[label for label, value in pairs if value >= threshold] if self.multi_label else None,
            scores=[LabelScore(label=label, score=value) for label, value in pairs[: self.top_k]],
            label_mass=min(judgement.label_mass for judgement in judgements),
        )


class LabelScore(StrictModel):
    """A label and its probability."""

    label: str
    score: float


class ClassifyResult(StrictModel):
    """The answer about one text; `scores` from the likeliest down, `score` that of the first.

    With `multi_label`, `label_mass` is the least among the labels' own questions.
    """

    index: int
    label: str | None
    score: float
    labels: list[str] | None = None
    scores: list[LabelScore]
    label_mass: float


class ClassifyResponse(StrictModel):
    """Answers in the order of the texts."""

    id: str
    object: Literal["list"] = "list"
    model: str
    data: list[ClassifyResult]
    usage: DecisionsUsage
