"""Bodies of `POST /v1/decisions`: typed questions about one input, and their answers."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from app.api.schemas.base import LETS_GO, NotBlank, StrictModel, documented, neutral
from app.services.decisions import DecisionService, Judgement
from app.services.label_scores import choice_confidence, expected_level, score_confidence
from app.services.questions import LABEL_RULE, LEAST_CHOICES, Label, Question, checked_labels

Instructions = Annotated[str, Field(min_length=1, pattern=r"\S", description="What to decide.")]
Name = Annotated[
    str, Field(max_length=128, description="Comes back with the answer; no two questions have the same.")
]


class PredicateAnswer(StrictModel):
    """Probability that the statement holds."""

    type: Literal["predicate"] = "predicate"
    name: str | None
    probability: float
    label_mass: float


class ChoiceProbability(StrictModel):
    """One choice and its probability."""

    value: str | bool
    probability: float


class ChoiceAnswer(StrictModel):
    """The likeliest choice; `confidence` is 0 for a uniform answer and 1 for a certain one."""

    type: Literal["choice"] = "choice"
    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ChoiceProbability]
    label_mass: float


class LevelProbability(StrictModel):
    """One level, by index and label, and its probability."""

    value: int
    label: str
    probability: float


class ScoreAnswer(StrictModel):
    """The expected level index; `confidence` falls with the distance from the likeliest level."""

    type: Literal["score"] = "score"
    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelProbability]
    label_mass: float


class PredicateQuestion(StrictModel):
    """Does this hold?"""

    type: Literal["predicate"]
    name: Name | None = None
    instructions: Instructions

    def question(self, service: DecisionService, param: str) -> Question:
        """The question to the model."""
        return Question("predicate", service.yes_no(), self.instructions, type="predicate")

    def answer(self, judgement: Judgement) -> PredicateAnswer:
        """The answer in the API's shape."""
        return PredicateAnswer(
            name=self.name, probability=judgement.probabilities[0], label_mass=judgement.label_mass
        )


class Choice(StrictModel):
    """One option: a string or a boolean."""

    value: NotBlank | bool
    description: str | None = None

    @property
    def label(self) -> Label:
        """The option as the model sees it."""
        text = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return Label(text, self.description)


class ChoiceQuestion(StrictModel):
    """Which of these?"""

    type: Literal["choice"]
    name: Name | None = None
    instructions: Instructions
    choices: Annotated[
        list[Annotated[Choice, LETS_GO]],
        Field(description=LABEL_RULE, fail_fast=True),
        documented(minItems=LEAST_CHOICES),
    ]

    def question(self, service: DecisionService, param: str) -> Question:
        """The question to the model."""
        labels = [choice.label for choice in self.choices]
        checked = checked_labels(labels, f"{param}.choices", least=LEAST_CHOICES, most=service.max_labels)
        return Question("choice", checked, self.instructions)

    def answer(self, judgement: Judgement) -> ChoiceAnswer:
        """The answer in the API's shape."""
        pairs = list(zip(self.choices, judgement.probabilities, strict=True))
        return ChoiceAnswer(
            name=self.name,
            choice=max(pairs, key=lambda pair: pair[1])[0].value,
            confidence=choice_confidence(judgement.probabilities),
            probabilities=[
                ChoiceProbability(value=choice.value, probability=probability)
                for choice, probability in pairs
            ],
            label_mass=judgement.label_mass,
        )


class Level(StrictModel):
    """One step of a scale, lowest first."""

    label: NotBlank
    description: str | None = None


class ScoreQuestion(StrictModel):
    """How much, on this scale?"""

    type: Literal["score"]
    name: Name | None = None
    instructions: Instructions
    levels: Annotated[
        list[Annotated[Level, LETS_GO]],
        Field(description=LABEL_RULE, fail_fast=True),
        documented(minItems=LEAST_CHOICES),
    ]

    def question(self, service: DecisionService, param: str) -> Question:
        """The question to the model."""
        labels = [Label(level.label, level.description) for level in self.levels]
        checked = checked_labels(labels, f"{param}.levels", least=LEAST_CHOICES, most=service.max_labels)
        return Question("choice", checked, self.instructions, type="score")

    def answer(self, judgement: Judgement) -> ScoreAnswer:
        """The answer in the API's shape."""
        pairs = zip(self.levels, judgement.probabilities, strict=True)
        return ScoreAnswer(
            name=self.name,
            score=expected_level(judgement.probabilities),
            confidence=score_confidence(judgement.probabilities),
            probabilities=[
                LevelProbability(value=index, label=level.label, probability=probability)
                for index, (level, probability) in enumerate(pairs)
            ],
            label_mass=judgement.label_mass,
        )


class InputPart(StrictModel):
    """A text part of a message."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class InputMessage(StrictModel):
    """One turn of the conversation that the questions are about."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Annotated[InputPart, LETS_GO]], Field(fail_fast=True)]

    @property
    def text(self) -> str:
        """What was said."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    @property
    def line(self) -> str:
        """The turn as a line of a transcript."""
        return f"{self.role}: {self.text}"


AnyQuestion = Annotated[PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


def _named_apart(questions: list[AnyQuestion]) -> list[AnyQuestion]:
    names = [question.name for question in questions if question.name is not None]
    if len(set(names)) < len(names):
        raise PydanticCustomError("question_names", "names differ")
    return questions


class DecisionsRequest(StrictModel):
    """Typed questions about one input."""

    model: str
    input: NotBlank | Annotated[list[Annotated[InputMessage, LETS_GO]], Field(min_length=1, fail_fast=True)]
    questions: Annotated[
        list[Annotated[AnyQuestion, LETS_GO]],
        Field(min_length=1, fail_fast=True),
        AfterValidator(_named_apart),
    ]
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Requests share cached prefixes only under equal keys."
    )
    prompt_cache_options: Annotated[None, neutral()] = None
    safety_identifier: Annotated[None, neutral()] = None

    @property
    def text(self) -> str:
        """The input as one text: messages become a transcript, and no text where nobody said a thing."""
        if isinstance(self.input, str):
            return self.input
        said = any(message.text.strip() for message in self.input)
        return "\n".join(message.line for message in self.input) if said else ""


class InputTokensDetails(StrictModel):
    """Part of the input tokens."""

    cached_tokens: int
    cache_write_tokens: int = 0
    """What OpenAI charges for writing its cache; the prefix cache here has no such price."""


class OutputTokensDetails(StrictModel):
    """Part of the output tokens, which a decision has none of."""

    reasoning_tokens: int = 0


class DecisionsUsage(StrictModel):
    """Tokens of all prompts; nothing is generated. OpenAI's client expects every field."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int

    @classmethod
    def of(cls, judgements: Sequence[Judgement]) -> "DecisionsUsage":
        """The sum over all queries of a request."""
        tokens = sum(judgement.prompt_tokens for judgement in judgements)
        cached = sum(judgement.cached_tokens for judgement in judgements)
        details = InputTokensDetails(cached_tokens=cached)
        return cls(input_tokens=tokens, input_tokens_details=details, total_tokens=tokens)


class DecisionsResponse(StrictModel):
    """Answers in the order of the questions."""

    model: str
    answers: list[PredicateAnswer | ChoiceAnswer | ScoreAnswer]
    usage: DecisionsUsage
