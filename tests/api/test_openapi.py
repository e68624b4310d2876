"""The OpenAPI document says what the service does where no schema of the framework's does."""

from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from app.api.security import OPEN_PATHS
from app.api.strict_json import MAX_CONTAINERS, MAX_DEPTH, MAX_KEYS, MAX_VALUES
from app.keys import new_key
from app.services.completions import MAX_PROMPTS
from tests.api.conftest import MODEL, build_app
from tests.fakes import FakeEngine

pytestmark = pytest.mark.anyio


def chat(**fields: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hi"}],
    } | fields


def completion(prompt: Any, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/completions", {"model": MODEL, "prompt": prompt} | fields


def decision(text: Any = "Hi", **question: Any) -> tuple[str, dict[str, Any]]:
    asked = {"instructions": "Which?"} | (question or {"type": "predicate"})
    return "/v1/decisions", {"model": MODEL, "input": text, "questions": [asked]}


def choice(*values: Any) -> tuple[str, dict[str, Any]]:
    return decision(type="choice", choices=[{"value": value} for value in values])


def score(*labels: str) -> tuple[str, dict[str, Any]]:
    return decision(type="score", levels=[{"label": label} for label in labels])


def classify(labels: list[Any], **fields: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/classify", {"model": MODEL, "input": "Hi", "labels": labels} | fields


def systemone(state: Any = "Hi", **question: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/systemone", {"model": MODEL, "state": state, "questions": {"q": question or {"type": "noul"}}}


def detokenize(*tokens: int) -> tuple[str, dict[str, Any]]:
    return "/detokenize", {"tokens": list(tokens)}


def keys(count: int) -> dict[str, str | None]:
    return {f"key{index}": None for index in range(count)}


def specs(*labels: str) -> list[dict[str, str]]:
    return [{"label": label} for label in labels]


AT_A_BOUND = [
    chat(stop="x" * 256),
    chat(stop=["x", "é" * 128]),
    chat(logit_bias={"0": 1.0, "7": 1.0}),
    completion(["Hi"] * MAX_PROMPTS),
    completion([[7]] * MAX_PROMPTS),
    detokenize(),
    detokenize(0),
    decision(" Hi "),
    choice("yes", "no"),
    choice(True, False),
    choice(" " * 200 + "yes", "no"),
    score("low", "high"),
    classify(["a", "b"]),
    classify(["a"], multi_label=True),
    classify(specs("a", "b"), input=["Hi"]),
    systemone({}),
    systemone([]),
    systemone(type="choice", criteria=keys(2)),
    systemone(type="score", criteria=["low", "high"]),
]

BEYOND_A_BOUND = [
    chat(stop=""),
    chat(stop="x" * 257),
    chat(stop=["x", ""]),
    chat(logit_bias={"07": 1.0}),
    chat(logit_bias={"1234567890": 1.0}),
    completion(["Hi"] * (MAX_PROMPTS + 1)),
    completion([[7]] * (MAX_PROMPTS + 1)),
    detokenize(7, -1),
    decision(" \n"),
    choice("yes"),
    choice("yes", ""),
    choice("yes", " "),
    score("low"),
    score("low", "\t"),
    classify([]),
    classify([], multi_label=True),
    classify(["a", " "]),
    classify(specs("a", "")),
    classify(["a", "b"], input=" "),
    classify(["a", "b"], input=["Hi", ""]),
    systemone(" "),
    systemone(keys(MAX_KEYS + 1)),
    systemone(type="choice", criteria=keys(1)),
    systemone(type="choice", criteria=keys(1) | {" ": None}),
    systemone(type="score", criteria=["low"]),
    systemone(type="score", criteria=["low", ""]),
]


def is_documented(document: dict[str, Any], path: str, body: dict[str, Any]) -> bool:
    """Whether a client that goes by the document would send this."""
    content = document["paths"][path]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"] | {"components": document["components"]}
    return Draft202012Validator(schema).is_valid(body)


@pytest.mark.parametrize(("path", "body"), AT_A_BOUND)
async def test_what_is_taken_is_documented(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    document = (await client.get("/openapi.json")).json()
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert is_documented(document, path, body)


@pytest.mark.parametrize(("path", "body"), BEYOND_A_BOUND)
async def test_a_bound_of_the_code_is_one_of_the_document(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    document = (await client.get("/openapi.json")).json()
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] != "context_length_exceeded"
    assert not is_documented(document, path, body)


def test_as_many_keys_as_an_object_may_have_are_documented() -> None:
    assert is_documented(build_app(FakeEngine()).openapi(), *systemone(keys(MAX_KEYS)))


def test_what_no_schema_can_say_of_a_body_is_said_in_words() -> None:
    words = build_app(FakeEngine()).openapi()["info"]["description"]
    assert all(str(bound) in words for bound in (MAX_DEPTH, MAX_CONTAINERS, MAX_VALUES, MAX_KEYS))


def test_fields_that_cannot_be_honoured_are_documented_with_what_they_may_be() -> None:
    fields = build_app(FakeEngine()).openapi()["components"]["schemas"]["ChatRequest"]["properties"]
    assert fields["tools"]["enum"] == [None, []]
    assert fields["tool_choice"]["enum"] == [None, "none", "auto"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_both_forms_of_an_answer_are_documented(path: str) -> None:
    answer = build_app(FakeEngine()).openapi()["paths"][path]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"application/json", "text/event-stream"}


async def test_the_deadline_is_documented_where_it_is_read(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    ways = [
        chat(),
        completion("Hi"),
        decision(),
        classify(["a", "b"]),
        systemone(),
        ("/tokenize", {"prompt": "Hi"}),
    ]
    read = set()
    for path, body in ways:
        response = await client.post(path, json=body, headers={"x-request-timeout-ms": "soon"})
        if response.status_code == 400 and response.json()["error"]["param"] == "x-request-timeout-ms":
            read.add(path)
    told = {
        path
        for path, operations in document["paths"].items()
        for one in operations.get("post", {}).get("parameters", [])
        if (one["name"], one["in"]) == ("x-request-timeout-ms", "header")
    }
    assert told == read == {path for path, _ in ways[:-1]}


def test_what_needs_a_key_is_documented_where_there_are_keys(tmp_path: Path) -> None:
    assert "security" not in build_app(FakeEngine()).openapi()["paths"]["/v1/decisions"]["post"]
    _, entry = new_key("acme")
    (tmp_path / "keys.json").write_bytes(msgspec.json.encode([entry]))
    document = build_app(FakeEngine(), api_keys_file=tmp_path / "keys.json").openapi()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["security"] == ([] if path in OPEN_PATHS else [{"key": []}])
    assert "scope `decide`" in document["paths"]["/v1/decisions"]["post"]["description"]


def test_metrics_that_need_no_key_are_documented_so(tmp_path: Path) -> None:
    _, entry = new_key("acme")
    (tmp_path / "keys.json").write_bytes(msgspec.json.encode([entry]))
    app = build_app(FakeEngine(), api_keys_file=tmp_path / "keys.json", metrics_without_key=True)
    operation = app.openapi()["paths"]["/metrics"]["get"]
    assert operation["security"] == [] and "Needs a key" not in operation.get("description", "")
