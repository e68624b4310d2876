"""How a question about a text is put to the model: the forms of `decisions.json`, or built-in ones."""

import re
from typing import Annotated, Literal

import msgspec

from app.services.chat_template import Message
from app.services.model_file import read_model_file
from app.services.questions import Label, Question

FILE_NAME = "decisions.json"
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

TEXT_FIRST = "text_first"


class DecisionPrompts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prompt forms of one model; the defaults suit any instruction-tuned one.

    Attributes:
        order: `question_first` puts the question into the system message, so that texts under one question
            share a prefix; `text_first` puts the text before the question in one user message, so that
            questions on one text do.
        choice: form of a question with labels to choose from.
        predicate: form of a yes/no question.
        multi_label: form of the yes/no question whether one label applies.
        separator: stands between labels.
        label, described_label: form of one label in the list.
        true, false: the labels of yes/no questions.
        default_task: task of questions that come without instructions.
        temperature: divides log-probabilities before they are normalised.
    """

    order: Literal["question_first", "text_first"] = "text_first"
    choice: str = "{task}\nLabels:\n{labels}\nAnswer with exactly one of the labels."
    predicate: str = "{instructions}\nLabels:\n{labels}\nAnswer with exactly one of the labels."
    multi_label: str = (
        "{task}\nDoes this apply: {label}?\nLabels:\n{labels}\nAnswer with exactly one of the labels."
    )
    separator: str = "\n"
    label: str = "- {label}"
    described_label: str = "- {label}: {description}"
    true: str = "yes"
    false: str = "no"
    default_task: str = "Classify the text."
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    def messages(self, question: Question, text: str) -> list[Message]:
        """The messages whose answer is one of the question's labels."""
        asked = self._ask(question)
        if self.order == TEXT_FIRST:
            return [Message(role="user", content=f"{text}\n\n{asked}")]
        return [Message(role="system", content=asked), Message(role="user", content=text)]

    def _ask(self, question: Question) -> str:
        task = question.instructions or self.default_task
        values = {
            "task": task.strip().removesuffix("."),
            "instructions": task.strip(),
            "labels": self.separator.join(self._show(label) for label in question.labels),
            "label": self._show_inline(question.subject),
        }
        return _fill(getattr(self, question.form), values)

    def _show(self, label: Label) -> str:
        form = self.described_label if label.description else self.label
        return _fill(form, {"label": label.text, "description": label.description or ""})

    def _show_inline(self, label: Label | None) -> str:
        if label is None:
            return ""
        return f"{label.text} ({label.description})" if label.description else label.text


def load_prompts(model: str) -> DecisionPrompts:
    """The prompt forms of a model: those in its directory, or the built-in ones.

    Raises:
        InvalidModelFile: the file is there and cannot be used.
    """
    return read_model_file(model, FILE_NAME, _DecisionsFile) or DecisionPrompts()


class _DecisionsFile(DecisionPrompts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The form in a file: it must name what the built-in form cannot guess."""

    order: Literal["question_first", "text_first"]
    choice: str
    predicate: str
    multi_label: str
    separator: str
    label: str
    described_label: str
    default_task: str = "classification"


def _fill(form: str, values: dict[str, str]) -> str:
    """Put values into a form in one pass: braces inside the values stay text."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), form)
