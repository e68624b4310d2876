"""The policy file: what is looked for in requests and answers, and what then happens."""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.errors import InvalidRequest
from app.masking.kinds import KINDS, NUMBER_KINDS
from app.policy.words import is_blank
from app.services.questions import Label, checked_labels
from app.services.tokenizer import Tokenizer
from app.settings import Settings

MOST_RULES = 8
"""Each has up to four series in the metrics."""
PERSONAL_KINDS = frozenset(kind.name for kind in (*KINDS, *NUMBER_KINDS))

Place = Literal["input", "output"]
Action = Literal["refuse", "mask", "flag"]

_OF_QUESTIONS = frozenset({"labels", "when", "threshold", "least_mass", "on_failure"})


class InvalidPolicyFile(ValueError):
    """The policy file cannot be used; the message is one line for the operator."""


class Rule(BaseModel):
    """One rule: `words`, `personal` or `question` is what it looks for.

    Attributes:
        name: in metrics, logs, and in place of what is masked.
        at: what it looks at: what clients send, what the model says, or both.
        words: whole words and phrases.
        personal: kinds of `app.masking`; true for all of them.
        question: the served model decides.
        labels: the answers to the question; without them the model's own yes and no.
        when: the labels upon which the rule acts; yes where there are none.
        threshold: least probability of these labels together, 0 to 1.
        least_mass: least probability of all labels together, 0 to 1: below it the labels do not fit the text, and the
            rule does not act.
        on_failure: what comes of a text that could not be judged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    at: Literal["input", "output", "both"] = "both"
    action: Action
    words: tuple[str, ...] = ()
    personal: frozenset[str] = frozenset()
    question: str = ""
    labels: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    least_mass: Annotated[float, Field(ge=0, le=1)] = 0.0
    on_failure: Literal["refuse", "allow"] = "refuse"

    @field_validator("personal", mode="before")
    @classmethod
    def _all_kinds(cls, value: object) -> object:
        return PERSONAL_KINDS if value is True else frozenset() if value is False else value

    @field_validator("personal")
    @classmethod
    def _known_kinds(cls, kinds: frozenset[str]) -> frozenset[str]:
        if strangers := kinds - PERSONAL_KINDS:
            known = ", ".join(sorted(PERSONAL_KINDS))
            raise ValueError(f"{', '.join(sorted(strangers))}: the kinds are {known}")
        return kinds

    @field_validator("words")
    @classmethod
    def _visible(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if any(map(is_blank, words)):
            raise ValueError("a word must not be blank")
        return words

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        detectors = [bool(self.words), bool(self.personal), bool(self.question.strip())]
        if sum(detectors) != 1:
            raise ValueError("exactly one of words, personal and question says what to look for")
        if not self.question:
            if given := sorted(_OF_QUESTIONS & self.model_fields_set):
                raise ValueError(f"{given[0]} goes with a question")
            return self
        if self.action == "mask" and self.looks_at("input"):
            raise ValueError(
                'a question is about the whole of a request, which cannot be masked: at = "output"'
            )
        if self.action == "flag" and "on_failure" in self.model_fields_set:
            raise ValueError("on_failure is for rules that refuse or mask")
        if bool(self.labels) != bool(self.when) or not set(self.when) <= set(self.labels):
            raise ValueError("labels come with when, which names some of them")
        return self

    def looks_at(self, place: Place) -> bool:
        """Whether it looks there."""
        return self.at in (place, "both")

    @property
    def actions(self) -> tuple[str, ...]:
        """What can come of it, as the metrics say it."""
        return (self.action, "failed") if self.question else (self.action,)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rule: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=MOST_RULES)]

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        if twice := [name for name, times in Counter(rule.name for rule in self.rule).items() if times > 1]:
            raise ValueError(f"{', '.join(twice)} is there twice")
        return self


def load_rules(settings: Settings, tokenizer: Tokenizer) -> tuple[Rule, ...]:
    """The rules of the settings' policy file, in its order; none without a file.

    Raises:
        InvalidPolicyFile: it cannot be read, is no TOML, or has a rule that cannot be followed.
    """
    if settings.policy_file is None:
        return ()
    rules = _read(settings.policy_file)
    for rule in rules:
        if rule.question and not tokenizer.has_chat_template:
            raise InvalidPolicyFile(f"{rule.name}: a model without a chat template answers no question")
        try:
            if rule.labels:
                checked_labels([Label(text) for text in rule.labels], "", least=2, most=settings.max_labels)
        except InvalidRequest as error:
            raise InvalidPolicyFile(f"{rule.name}: {error.message}") from error
    return rules


def _read(path: Path) -> tuple[Rule, ...]:
    try:
        return _File.model_validate(tomllib.loads(path.read_text("utf-8"))).rule
    except OSError as error:
        raise InvalidPolicyFile(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidPolicyFile(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        parts = (str(path), ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, "))
        raise InvalidPolicyFile(": ".join(part for part in parts if part)) from error
