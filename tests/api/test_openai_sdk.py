"""The `openai` client works unchanged."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI

from app.errors import EngineDied, Overloaded
from tests.api.conftest import MODEL
from tests.fakes import FakeEngine

pytestmark = pytest.mark.anyio
TEXT = "Hello, wörld 👋🏽!"
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def sdk(app: FastAPI) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app))
    connection: Any = {"base_url": "http://toy/v1", "http_client": http, "max_retries": 0}
    async with openai.AsyncOpenAI(api_key="none", **connection) as client:
        yield client


async def test_a_whole_answer_with_logprobs(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(
        model=MODEL, messages=HI, n=2, logprobs=True, top_logprobs=1, stop=["!"]
    )
    assert [choice.message.content for choice in answer.choices] == [TEXT[:-1]] * 2
    assert answer.choices[0].finish_reason == "stop"
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None and logprobs.content[0].logprob == -0.5
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer._request_id and answer._request_id.startswith("req_")


async def test_a_stream_with_usage(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_the_stream_helper_sees_the_whole_answer(sdk: openai.AsyncOpenAI) -> None:
    async with sdk.chat.completions.stream(model=MODEL, messages=HI) as stream:
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"


async def test_text_completions(sdk: openai.AsyncOpenAI) -> None:
    whole = await sdk.completions.create(model=MODEL, prompt=["a", "b"], logprobs=2, max_tokens=50)
    assert [choice.text for choice in whole.choices] == [TEXT, TEXT]
    assert whole.choices[0].logprobs is not None
    stream = await sdk.completions.create(model=MODEL, prompt="a", stream=True, max_tokens=50)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT


async def test_models(sdk: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in sdk.models.list()] == [MODEL]
    assert (await sdk.models.retrieve(MODEL)).object == "model"
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("other")


async def test_errors_are_typed(sdk: openai.AsyncOpenAI, engine: FakeEngine) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        await sdk.chat.completions.create(model=MODEL, messages=HI, temperature=3)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.NotFoundError) as lost:
        await sdk.chat.completions.create(model="other", messages=HI)
    assert lost.value.code == "model_not_found"
    engine.refusal = Overloaded(1.5)
    with pytest.raises(openai.InternalServerError) as busy:
        await sdk.chat.completions.create(model=MODEL, messages=HI)
    assert busy.value.code == "server_is_overloaded"
    assert 1500 <= int(busy.value.response.headers["retry-after-ms"]) <= 2250


async def test_an_error_in_mid_stream_is_raised(sdk: openai.AsyncOpenAI, engine: FakeEngine) -> None:
    engine.fail_after, engine.failure = 3, EngineDied()
    stream = await sdk.chat.completions.create(model=MODEL, messages=HI, stream=True)
    with pytest.raises(openai.APIError) as failure:
        _ = [chunk async for chunk in stream]
    assert failure.value.code == "internal_error"
