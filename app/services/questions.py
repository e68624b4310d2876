"""A question to the model: its labels, and what makes a set of labels valid."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.errors import InvalidRequest
from app.observation import DecisionType

MAX_LABEL_CHARACTERS = 128
LEAST_CHOICES = 2
"""Labels of a question that has one answer: between fewer there is nothing to choose."""
_MOST_BEFORE = 4 * MAX_LABEL_CHARACTERS
"""Composition makes at most four characters one; what is longer than this before it is too long after it."""
_TOO_LONG = f"A label must have at most {MAX_LABEL_CHARACTERS} characters."
LABEL_RULE = (
    f"A label has at most {MAX_LABEL_CHARACTERS} characters and no line breaks or control characters."
)
"""For those who write labels; see `checked_labels`."""


@dataclass(frozen=True, slots=True)
class Label:
    """One possible answer; `text` is what the model is scored on."""

    text: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a text.

    Attributes:
        form: which prompt form asks it.
        labels: the possible answers.
        instructions: what to decide, in the client's words; None takes the model's default task.
        subject: the label that a `multi_label` question is about.
        type: what the client asked for, which decides how sure an answer is.
    """

    form: Literal["choice", "predicate", "multi_label"]
    labels: tuple[Label, ...]
    instructions: str | None = None
    subject: Label | None = None
    type: DecisionType = "choice"


def checked_labels(labels: Sequence[Label], param: str, *, least: int, most: int) -> tuple[Label, ...]:
    """The labels in NFC and without outer white space.

    Args:
        param: the request field that they came from.
        least, most: bounds of their number.

    Raises:
        InvalidRequest: too few or too many; one is blank, too long, or holds a line break or another control
            character; two are the same.
    """
    if not least <= len(labels) <= most:
        raise InvalidRequest(f"The number of labels must be from {least} to {most}.", param)
    if any(len(label.text) > _MOST_BEFORE for label in labels) and any(
        len(label.text.strip()) > _MOST_BEFORE for label in labels
    ):
        raise InvalidRequest(_TOO_LONG, param)
    clean = tuple(Label(_normalised(label.text), label.description or None) for label in labels)
    for label in clean:
        _check_text(label.text, param)
    if len({label.text for label in clean}) < len(clean):
        raise InvalidRequest("Labels must differ from each other.", param)
    return clean


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _check_text(text: str, param: str) -> None:
    if not text:
        raise InvalidRequest("A label must not be blank.", param)
    if len(text) > MAX_LABEL_CHARACTERS:
        raise InvalidRequest(_TOO_LONG, param)
    if not text.isprintable() and any(
        unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in text
    ):
        raise InvalidRequest("A label must not contain line breaks or control characters.", param)
