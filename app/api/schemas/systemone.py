"""Bodies of `POST /v1/systemone`: questions and answers keyed by the caller's ids."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import InitErrorDetails

from app.api.schemas.base import NotBlank, StrictModel, documented
from app.api.strict_json import MAX_KEYS
from app.services.decisions import DecisionService, Judgement
from app.services.label_scores import choice_confidence, expected_level, score_confidence
from app.services.questions import LABEL_RULE, LEAST_CHOICES, Label, Question, checked_labels

Instructions = Annotated[str, Field(min_length=1, pattern=r"\S")]


class ChoiceResult(StrictModel):
    """The likeliest option."""

    type: Literal["choice"] = "choice"
    choice: str
    confidence: float
    probabilities: dict[str, float]
    label_mass: float


class ScoreResult(StrictModel):
    """The expected level index; `legend` and `probabilities` are keyed by index."""

    type: Literal["score"] = "score"
    score: float
    confidence: float
    legend: dict[str, str]
    probabilities: dict[str, float]
    label_mass: float


class NoulResult(StrictModel):
    """Probability of true."""

    type: Literal["noul"] = "noul"
    noul: float
    label_mass: float


class ChoiceQuery(StrictModel):
    """Which of these options?"""

    type: Literal["choice"]
    instructions: Instructions | None = None
    criteria: Annotated[
        dict[str, str | None],
        Field(description=LABEL_RULE),
        documented(
            minProperties=LEAST_CHOICES,
            maxProperties=MAX_KEYS,
            propertyNames={"minLength": 1, "pattern": r"\S"},
        ),
    ]

    def question(self, service: DecisionService, param: str) -> Question:
        """The question to the model."""
        labels = [Label(option, description) for option, description in self.criteria.items()]
        checked = checked_labels(labels, f"{param}.criteria", least=LEAST_CHOICES, most=service.max_labels)
        return Question("choice", checked, self.instructions)

    def answer(self, judgement: Judgement) -> ChoiceResult:
        """The answer in the API's shape."""
        probabilities = dict(zip(self.criteria, judgement.probabilities, strict=True))
        return ChoiceResult(
            choice=max(probabilities, key=probabilities.__getitem__),
            confidence=choice_confidence(judgement.probabilities),
            probabilities=probabilities,
            label_mass=judgement.label_mass,
        )


class ScoreQuery(StrictModel):
    """Which of these levels, lowest first?"""

    type: Literal["score"]
    instructions: Instructions | None = None
    criteria: Annotated[
        list[NotBlank], Field(description=LABEL_RULE, fail_fast=True), documented(minItems=LEAST_CHOICES)
    ]

    def question(self, service: DecisionService, param: str) -> Question:
        """The question to the model."""
        labels = [Label(level) for level in self.criteria]
        checked = checked_labels(labels, f"{param}.criteria", least=LEAST_CHOICES, most=service.max_labels)
        return Question("choice", checked, self.instructions, type="score")

    def answer(self, judgement: Judgement) -> ScoreResult:
        """The answer in the API's shape."""
        return ScoreResult(
            score=expected_level(judgement.probabilities),
            confidence=score_confidence(judgement.probabilities),
            legend={str(index): level for index, level in enumerate(self.criteria)},
            probabilities={str(index): value for index, value in enumerate(judgement.probabilities)},
            label_mass=judgement.label_mass,
        )


class NoulQuery(StrictModel):
    """True or false?"""

    type: Literal["noul"]
    instructions: Instructions | None = None
    criteria: dict[Literal["true", "false"], str | None] | None = None

    def question(self, service: DecisionService, param: str) -> Question:
        """The question to the model."""
        criteria = self.criteria or {}
        labels = service.yes_no(criteria.get("true"), criteria.get("false"))
        return Question("predicate", labels, self.instructions, type="predicate")

    def answer(self, judgement: Judgement) -> NoulResult:
        """The answer in the API's shape."""
        return NoulResult(noul=judgement.probabilities[0], label_mass=judgement.label_mass)


AnyQuery = Annotated[ChoiceQuery | ScoreQuery | NoulQuery, Field(discriminator="type")]


def _by_position(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Validate one question after another up to the first wrong one, and tell which that is by its position.

    Its id is the caller's own text, and all faults of a thousand questions would take seconds to collect.
    """
    if not isinstance(value, dict) or not value:
        return validate(value)
    questions = dict[str, Any]()
    for index, (name, question) in enumerate(value.items()):
        try:
            questions |= validate({name: question})
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title,
                [
                    InitErrorDetails(
                        type=problem["type"],
                        loc=(index, *problem["loc"][1:]),
                        input=problem["input"],
                        ctx=problem.get("ctx", {}),
                    )
                    for problem in error.errors()
                ],
            ) from error
    return questions


class SystemOneRequest(StrictModel):
    """Questions about one state: a text, or JSON that the model reads as text."""

    model: str
    state: NotBlank | Annotated[dict[str, Any], documented(maxProperties=MAX_KEYS)] | list[Any]
    questions: Annotated[
        dict[Annotated[str, Field(max_length=128)], AnyQuery],
        Field(min_length=1),
        WrapValidator(_by_position),
        documented(maxProperties=MAX_KEYS),
    ]

    @property
    def text(self) -> str:
        """The state as text."""
        return self.state if isinstance(self.state, str) else json.dumps(self.state, ensure_ascii=False)


class SystemOneUsage(StrictModel):
    """Tokens of all prompts; nothing is generated."""

    input_tokens: int
    output_tokens: int = 0


class SystemOneResponse(StrictModel):
    """Answers under the ids of their questions."""

    model: str
    answers: dict[str, ChoiceResult | ScoreResult | NoulResult]
    usage: SystemOneUsage
