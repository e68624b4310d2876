"""Text completions over HTTP."""

import json
from typing import Any

import httpx
import pytest

from app.services.tokenizer import Tokenizer
from tests.api.conftest import MODEL, build_app, saying
from tests.fakes import FakeEngine

pytestmark = pytest.mark.anyio
PATH = "/v1/completions"
TEXT = "Hello, wörld 👋🏽!"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": "Hi", "max_tokens": 50} | fields


async def test_a_whole_answer(client: httpx.AsyncClient, engine: FakeEngine, tokenizer: Tokenizer) -> None:
    answer = (await client.post(PATH, json=body(logprobs=2))).json()
    assert answer["id"].startswith("cmpl-") and answer["object"] == "text_completion"
    (choice,) = answer["choices"]
    assert (choice["index"], choice["text"], choice["finish_reason"]) == (0, TEXT, "stop")
    logprobs = choice["logprobs"]
    count = len(tokenizer.encode(TEXT))
    assert {name: len(values) for name, values in logprobs.items()} == dict.fromkeys(logprobs, count)
    assert logprobs["text_offset"][:2] == [0, len(logprobs["tokens"][0])]
    assert engine.submitted[0].prompt == tokenizer.encode_completion("Hi")
    assert answer["usage"]["completion_tokens"] == count


async def test_offsets_go_on_over_chunks(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json=body(logprobs=0, stream=True))
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    choices = [json.loads(line)["choices"][0] for line in lines[:-1]]
    assert "".join(choice["text"] for choice in choices) == TEXT
    tokens = [token for choice in choices for token in choice["logprobs"]["tokens"]]
    offsets = [offset for choice in choices for offset in choice["logprobs"]["text_offset"]]
    assert offsets == [len("".join(tokens[:index])) for index in range(len(tokens))]
    assert [choice["finish_reason"] for choice in choices].count("stop") == 1


async def test_continuous_usage_is_on_each_chunk(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    response = await client.post(PATH, json=body(stream=True, stream_options=options))
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    *chunks, last = map(json.loads, lines[:-1])
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert 0 < counts[0] < counts[-1] == len(tokenizer.encode(TEXT))
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == counts[-1]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [([5, 6, 7], [[5, 6, 7]]), ([[5], [6, 7]], [[5], [6, 7]]), (["Hi", "Ho"], ["Hi", "Ho"])],
)
async def test_prompts_as_text_or_ids(
    client: httpx.AsyncClient, engine: FakeEngine, tokenizer: Tokenizer, prompt: Any, expected: list[Any]
) -> None:
    answer = (await client.post(PATH, json=body(prompt=prompt, n=2, best_of=2))).json()
    ids = [tokenizer.encode_completion(text) if isinstance(text, str) else text for text in expected]
    assert [request.prompt for request in engine.submitted] == [each for each in ids for _ in range(2)]
    assert [choice["index"] for choice in answer["choices"]] == list(range(2 * len(ids)))
    assert answer["usage"]["prompt_tokens"] == sum(map(len, ids))


@pytest.mark.parametrize("prompt", [["a"] * 9, [[5]] * 9])
async def test_too_many_prompts_are_told_the_limit(client: httpx.AsyncClient, prompt: Any) -> None:
    response = await client.post(PATH, json=body(prompt=prompt))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "prompt") and "1 and 8 prompts" in error["message"]


async def test_sixteen_tokens_unless_asked() -> None:
    app = build_app(FakeEngine(script=saying("a b " * 50)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        answer = (await client.post(PATH, json={"model": MODEL, "prompt": "Hi"})).json()
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["choices"][0]["finish_reason"] == "length"
