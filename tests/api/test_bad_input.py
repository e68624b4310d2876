"""Bad input to every endpoint with a body: the documented status and body, nothing echoed, nothing queued."""

import json
from typing import Any, get_args, get_type_hints

import httpx
import pytest
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params

from app.api.schemas.chat import ChatRequest
from app.api.schemas.completions import CompletionRequest
from app.api.security import OPEN_PATHS
from app.services.questions import MAX_LABEL_CHARACTERS
from tests.api.conftest import MODEL
from tests.fakes import FakeEngine

pytestmark = pytest.mark.anyio
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
CANARY = "Canary 4711"
WORD = "canary"
"""Could be the name of a field."""
VALID: dict[str, dict[str, Any]] = {
    CHAT: {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]},
    COMPLETIONS: {"model": MODEL, "prompt": "Hi"},
    "/tokenize": {"prompt": "Hi"},
    "/detokenize": {"tokens": [7]},
}


def each(field: str, *values: Any) -> list[tuple[str, Any]]:
    """The field with each of the values."""
    return [(field, value) for value in values]


def leaks(response: httpx.Response) -> bool:
    """Whether the answer repeats a canary."""
    return WORD in response.text.lower()


async def refused(
    client: httpx.AsyncClient, path: str, body: Any, status: int = 400, code: str = "invalid_value"
) -> Any:
    """The error of a refused request, whose shape is checked here."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await client.post(path, content=content, headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code), error
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    assert not leaks(response) and response.headers["x-request-id"]
    return error


@pytest.mark.parametrize("path", VALID)
async def test_the_valid_body_is_valid(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.post(path, json=VALID[path])).status_code == 200


@pytest.mark.parametrize("path", VALID)
@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a": NaN}', b'{"a":1,"a":2}', b"\xff", b'{"a":"\\ud800"}', b"[" * 99]
)
async def test_no_strict_json(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    await refused(client, path, body, code="invalid_json")


@pytest.mark.parametrize("path", VALID)
@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"Canary 4711"'])
async def test_no_object(client: httpx.AsyncClient, engine: FakeEngine, path: str, body: bytes) -> None:
    response = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400 and not leaks(response)
    assert engine.submitted == []


@pytest.mark.parametrize("path", VALID)
@pytest.mark.parametrize("content_type", [None, "", "text/plain", "multipart/form-data", "application/jsonx"])
async def test_no_json_content_type(client: httpx.AsyncClient, path: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await client.post(path, content=json.dumps(VALID[path]), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
    charset = {"content-type": "Application/JSON; charset=utf-8"}
    assert (await client.post(path, content=json.dumps(VALID[path]), headers=charset)).status_code == 200


@pytest.mark.parametrize("path", VALID)
async def test_unknown_fields(client: httpx.AsyncClient, path: str) -> None:
    error = await refused(client, path, VALID[path] | {"temprature": 1}, code="unknown_parameter")
    assert error["param"] == "temprature"
    error = await refused(client, path, VALID[path] | {CANARY: CANARY}, code="unknown_parameter")
    assert error["param"] is None


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize", "/detokenize"])
async def test_unknown_models(client: httpx.AsyncClient, path: str) -> None:
    error = await refused(client, path, VALID[path] | {"model": CANARY}, 404, "model_not_found")
    assert error["param"] == "model"


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *each("temperature", -0.1, 2.1, "1", True, [1]),
        *each("top_p", 0, 1.1, "1"),
        *each("n", 0, -1, 5, 10**18, 1.0, "1", True),
        *each("max_tokens", 0, -1, 2**63, 1.5, "9", True),
        *each("stop", "", "x" * 257, "订" * 86, [""], ["a"] * 5, 7, [7]),
        *each("seed", 2**63, -(2**63) - 1, 0.5, "1", True),
        *each(
            "logit_bias",
            {"5": 101},
            {"5": "1"},
            {"x": 1},
            {WORD: "1"},
            {WORD: 1},
            {"-1": 1},
            {"4096": 1},
            [1],
        ),
        *each("logit_bias", {"5": 1, "05": -1}, {"00": 1}, {"+5": 1}, {"５": 1}, {"5 ": 1}, {"": 1}),
        ("logit_bias", {str(token): 1 for token in range(257)}),
        *each("frequency_penalty", -2.1, 2.1, "0"),
        *each("presence_penalty", -2.1, 2.1),
        *each("top_k", -2, 1.5, 2**31),
        *each("min_p", -0.1, 1.1),
        *each("repetition_penalty", 0, 1e-39, 0.0099, 10.1),
        *each("min_tokens", -1, 10**6),
        *each("stop_token_ids", [-1], [4096], ["5"], [5] * 65),
        *each("priority", -101, 101, "high"),
        *each("user", 7, "x" * 513),
        *each("stream", "true", 1),
        *each("model", None, 7),
    ],
)
async def test_out_of_range(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, field: str, value: Any
) -> None:
    error = await refused(client, path, VALID[path] | {field: value})
    assert error["param"].split(".")[0] == field
    assert engine.submitted == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *each("top_logprobs", -1, 21, "1"),
        *each("logprobs", 1, "true"),
        *each("metadata", {"a": 1}, {"a": "x" * 513}, {"x" * 65: "a"}, [CANARY], {WORD: 1}),
        ("metadata", {str(i): "" for i in range(17)}),
        *each("messages", [], None, "Hi", [CANARY], [{"role": "user"}], [{}] * 3),
        ("messages", [{"role": "user", "content": "Hi"}] * 257),
        ("messages", [{"role": CANARY, "content": "Hi"}]),
        *(("messages", [{"role": "user", "content": value}]) for value in (None, 7, [], [{"type": "text"}])),
        ("stream_options", {"include_usage": "yes"}),
        ("stream_options", {"continuous_usage_stats": 1}),
    ],
)
async def test_out_of_range_in_chat(client: httpx.AsyncClient, field: str, value: Any) -> None:
    response = await client.post(CHAT, json=VALID[CHAT] | {field: value})
    assert response.status_code == 400 and not leaks(response)
    assert response.json()["error"]["param"].split(".")[0] == field


@pytest.mark.parametrize(
    "fields",
    [
        {"top_logprobs": 2},
        {"stream_options": {"include_usage": True}},
        {"max_tokens": 5, "max_completion_tokens": 6},
    ],
)
async def test_fields_that_contradict_each_other(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    error = await refused(client, CHAT, VALID[CHAT] | fields)
    assert error["param"] == list(fields)[-1]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", 9, "This field must be at most 2."),
        ("repetition_penalty", 0, "This field must be at least 0.01."),
        ("top_p", 0, "This field must be above 0."),
        ("n", 2**64, f"This field must be below {2**63}."),
        ("messages", [], "This field must have at least 1 item."),
        ("user", "x" * 513, "This field must have at most 512 characters."),
        ("logit_bias", {str(token): 1 for token in range(257)}, "This field must have at most 256 items."),
        ("top_logprobs", 2, "This field is allowed only with logprobs set to true."),
        ("stream_options", {}, "This field is allowed only with stream set to true."),
        ("stop", "", "A stop string must have between 1 and 256 bytes."),
        ("temperature", CANARY, "This field has the wrong type or a value that is not allowed."),
    ],
)
async def test_the_message_says_what_would_be_right(
    client: httpx.AsyncClient, field: str, value: Any, message: str
) -> None:
    error = await refused(client, CHAT, VALID[CHAT] | {field: value})
    assert (error["param"], error["message"]) == (field, message)


UNSUPPORTED: dict[str, tuple[Any, list[Any]]] = {
    "tools": ([{"type": "function", "function": {"name": CANARY}}], [[]]),
    "tool_choice": ("required", ["none", "auto"]),
    "parallel_tool_calls": (False, [True]),
    "functions": ([{"name": CANARY}], [[]]),
    "function_call": ({"name": CANARY}, ["none", "auto"]),
    "audio": ({"voice": CANARY}, []),
    "modalities": (["text", "audio"], [["text"]]),
    "response_format": ({"type": "json_object"}, [{"type": "text"}]),
    "prediction": ({"type": "content", "content": CANARY}, []),
    "service_tier": ("flex", ["auto", "default"]),
    "store": (True, [False]),
    "reasoning_effort": ("high", ["none"]),
    "web_search_options": ({}, []),
    "verbosity": ("high", ["medium"]),
    "moderation": ({"model": CANARY}, []),
    "prompt_cache_options": ({"mode": "explicit"}, []),
    "prompt_cache_retention": ("24h", ["in_memory"]),
}


@pytest.mark.parametrize("field", UNSUPPORTED)
async def test_what_is_known_and_not_honoured(client: httpx.AsyncClient, field: str) -> None:
    value, neutral = UNSUPPORTED[field]
    error = await refused(client, CHAT, VALID[CHAT] | {field: value}, code="unsupported_parameter")
    assert error["param"] == field
    for harmless in (None, *neutral):
        assert (await client.post(CHAT, json=VALID[CHAT] | {field: harmless})).status_code == 200


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x", "tool_call_id": "y"}, "messages.0.role"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": "y"}]}, "messages.0.tool_calls"),
        ({"role": "user", "content": "x", "name": CANARY}, "messages.0.name"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "y"}}]},
            "messages.0.content",
        ),
    ],
)
async def test_messages_that_are_known_and_not_honoured(
    client: httpx.AsyncClient, message: dict[str, Any], param: str
) -> None:
    body = VALID[CHAT] | {"messages": [message]}
    response = await client.post(CHAT, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unsupported_parameter"
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("question", "param"),
    [
        ({"type": "predicate"}, "questions.0.instructions"),
        (
            {"type": "choice", "instructions": "x", "choices": [{"value": WORD}, {}]},
            "questions.0.choices.1.value",
        ),
        ({"type": "score", "instructions": "x", "levels": WORD}, "questions.0.levels"),
        ({"type": WORD, "instructions": "x"}, "questions.0"),
    ],
)
async def test_questions_are_named_by_their_place_in_the_body(
    client: httpx.AsyncClient, question: dict[str, Any], param: str
) -> None:
    body = {"model": MODEL, "input": WORD, "questions": [question]}
    response = await client.post("/v1/decisions", json=body)
    assert response.status_code == 400 and not leaks(response)
    assert response.json()["error"]["param"] == param


async def test_token_ids_of_a_bias_reach_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = VALID[CHAT] | {"logit_bias": {"0": 1, "10": -1.5, "4095": 100}}
    assert (await client.post(CHAT, json=body)).status_code == 200
    assert engine.submitted[0].sampling.logit_bias == {0: 1.0, 10: -1.5, 4095: 100.0}


async def test_text_parts_are_joined(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "world"}]
    for content in (parts, "Hello\nworld"):
        body = VALID[CHAT] | {"messages": [{"role": "user", "content": content}]}
        assert (await client.post(CHAT, json=body)).status_code == 200
    assert engine.submitted[0].prompt == engine.submitted[1].prompt


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        *(
            (({"prompt": value}), "invalid_value", "prompt")
            for _, value in each("prompt", "", None, 7, {}, [["a"]])
        ),
        *(
            (({"prompt": value}), "invalid_value", "prompt")
            for _, value in each("prompt", [], [[]], [-1], [4096], [[1], [4096]])
        ),
        ({"prompt": ["a"] * 9}, "invalid_value", "prompt"),
        ({"prompt": "订" * 300}, "context_length_exceeded", "prompt"),
        ({"prompt": [7] * 256}, "context_length_exceeded", "prompt"),
        ({"logprobs": 6}, "invalid_value", "logprobs"),
        ({"echo": True}, "unsupported_parameter", "echo"),
        ({"suffix": "x"}, "unsupported_parameter", "suffix"),
        ({"best_of": 3, "n": 2}, "unsupported_parameter", "best_of"),
    ],
)
async def test_bad_completions(
    client: httpx.AsyncClient, engine: FakeEngine, fields: dict[str, Any], code: str, param: str
) -> None:
    error = await refused(client, COMPLETIONS, VALID[COMPLETIONS] | fields, code=code)
    assert error["param"] == param
    assert engine.submitted == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}),
        ("/tokenize", {"messages": []}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": [348]}),
        ("/detokenize", {"tokens": [10**12]}),
        ("/detokenize", {"tokens": ["7"]}),
    ],
)
async def test_bad_tokens(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400


async def test_a_hopeless_prompt_is_refused_before_tokenizing(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*arguments: object) -> None:
        raise AssertionError("tokenized")

    monkeypatch.setattr("app.services.tokenizer.Tokenizer.encode_prompt", unreachable)
    body = VALID[CHAT] | {"messages": [{"role": "user", "content": "x" * 500_000}]}
    error = await refused(client, CHAT, body, code="context_length_exceeded")
    assert error["param"] == "messages"


async def test_routes_and_methods(client: httpx.AsyncClient) -> None:
    lost = await client.get("/v1/Canary")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "unknown_url")
    slash = await client.post("/v1/classify/", json={})
    assert (slash.status_code, slash.json()["error"]["code"]) == (404, "unknown_url")
    wrong = await client.get(CHAT)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["code"] == "method_not_allowed"


async def test_a_fault_of_ours_is_a_plain_500(app: Any, engine: FakeEngine) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError(CANARY)

    engine.submit = broken  # type: ignore[method-assign,assignment]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://toy") as client:
        response = await client.post(CHAT, json=VALID[CHAT])
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert response.headers["x-request-id"] in response.json()["error"]["message"]
    assert not leaks(response)


def fields_of(params: Any) -> set[str]:
    """Fields of every variant of a request type of the SDK."""
    return {name for variant in get_args(params) for name in get_type_hints(variant)}


def test_every_field_of_the_sdk_is_known() -> None:
    assert fields_of(chat_params.CompletionCreateParams) - set(ChatRequest.model_fields) == set()
    assert fields_of(completion_params.CompletionCreateParams) - set(CompletionRequest.model_fields) == set()
    assert len(fields_of(chat_params.CompletionCreateParams)) > 30


async def test_the_bodies_are_documented(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path in VALID:
        assert "422" not in document["paths"][path]["post"]["responses"]
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        fields = document["components"]["schemas"][schema["$ref"].split("/")[-1]]["properties"]
        assert set(VALID[path]) <= set(fields)


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ("ChoiceQuestion", "choices"),
        ("ScoreQuestion", "levels"),
        ("ClassifyRequest", "labels"),
        ("ChoiceQuery", "criteria"),
        ("ScoreQuery", "criteria"),
    ],
)
async def test_what_a_label_may_be_is_documented(client: httpx.AsyncClient, schema: str, field: str) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert f"at most {MAX_LABEL_CHARACTERS} characters" in schemas[schema]["properties"][field]["description"]


async def test_every_route_documents_its_errors_in_their_own_shape(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            responses = operation["responses"]
            assert "422" not in responses, path
            if path in OPEN_PATHS:
                continue
            for status in ("401", "429", *(("400", "413", "503", "504") if method == "post" else ())):
                schema = responses[status]["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith("/ErrorResponse"), (path, status)
