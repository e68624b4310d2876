"""Long lists of objects are validated in many pieces: within one, no other thread runs, nor the event loop."""

import sys
from types import FrameType
from typing import Any

import pytest
from pydantic import BaseModel

from app.api.schemas.chat import ChatRequest
from app.api.schemas.classify import ClassifyRequest
from app.api.schemas.decisions import DecisionsRequest

MANY = 1000
CHOICES = {"type": "choice", "instructions": "?", "choices": [{"value": "a"}] * MANY}
LEVELS = {"type": "score", "instructions": "?", "levels": [{"label": "a"}] * MANY}
PREDICATE = {"type": "predicate", "instructions": "?"}
PARTS = [{"type": "text", "text": "a"}] * MANY
TURN = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (ChatRequest, {"messages": [TURN] * MANY}),
        (ChatRequest, {"messages": [{"role": "user", "content": PARTS}]}),
        (DecisionsRequest, {"input": "a", "questions": [CHOICES]}),
        (DecisionsRequest, {"input": "a", "questions": [LEVELS]}),
        (DecisionsRequest, {"input": "a", "questions": [PREDICATE] * MANY}),
        (DecisionsRequest, {"input": [TURN] * MANY, "questions": [PREDICATE]}),
        (DecisionsRequest, {"input": [{"role": "user", "content": PARTS}], "questions": [PREDICATE]}),
        (ClassifyRequest, {"input": "a", "labels": [{"label": "a"}] * MANY}),
    ],
)
def test_each_object_of_a_long_list_lets_others_run(schema: type[BaseModel], fields: dict[str, Any]) -> None:
    entered = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal entered
        entered += event == "call"  # where the interpreter looks whether another thread waits for it

    sys.setprofile(count)
    try:
        schema.model_validate({"model": "m", **fields})
    finally:
        sys.setprofile(None)
    assert entered >= MANY
