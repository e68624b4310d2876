"""A body with a hundred thousand faults is refused at its first: all of them would take seconds to tell."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.api.schemas.chat import ChatRequest
from app.api.schemas.classify import ClassifyRequest
from app.api.schemas.completions import CompletionRequest
from app.api.schemas.decisions import DecisionsRequest
from app.api.schemas.systemone import SystemOneRequest
from app.api.schemas.tokenize import DetokenizeRequest

WRONG = [None] * 1000
CHOICE = {"type": "choice", "instructions": "?", "choices": WRONG}
SCORE = {"type": "score", "instructions": "?", "levels": WRONG}
MANY = {str(i): {"type": "choice", "criteria": {"a": 0, "b": 0}} for i in range(1000)}


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (ChatRequest, {"messages": WRONG}),
        (ChatRequest, {"messages": [{"role": "user", "content": WRONG}]}),
        (CompletionRequest, {"prompt": WRONG}),
        (DecisionsRequest, {"input": "a", "questions": WRONG}),
        (DecisionsRequest, {"input": WRONG, "questions": [CHOICE]}),
        (DecisionsRequest, {"input": [{"role": "user", "content": WRONG}], "questions": [CHOICE]}),
        (DecisionsRequest, {"input": "a", "questions": [CHOICE, SCORE]}),
        (DecisionsRequest, {"input": "a", "questions": [SCORE]}),
        (ClassifyRequest, {"input": WRONG, "labels": ["a", "b"]}),
        (ClassifyRequest, {"input": "a", "labels": WRONG}),
        (SystemOneRequest, {"state": "a", "questions": MANY}),
        (SystemOneRequest, {"state": "a", "questions": {"a": {"type": "score", "criteria": WRONG}}}),
        (DetokenizeRequest, {"tokens": WRONG}),
    ],
)
def test_faults_are_few_however_many_there_are(schema: type[BaseModel], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        schema.model_validate({"model": "m", **fields})
    assert refused.value.error_count() <= 8
