"""OpenAI's own Python client against the real service with the embedded model."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.service.running_service import MODEL, Service

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How can I cancel my order?"}]


def chat(service: Service, **fields: Any) -> ChatCompletion:
    values = {"model": MODEL, "messages": QUESTION, "max_tokens": 24, "temperature": 0} | fields
    answer: ChatCompletion = service.openai.chat.completions.create(**values)
    return answer


def test_stream_with_usage(service: Service) -> None:
    chunks = list(
        service.openai.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            max_tokens=24,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = chat(service)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    usage = chunks[-1].usage
    assert usage is not None and whole.usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole.usage.prompt_tokens, 24)
    timings = (chunks[-1].model_extra or {})["timings"]
    assert 0 < timings["ttft_ms"] <= timings["total_ms"]


def test_logprobs(service: Service) -> None:
    answer = chat(service, logprobs=True, top_logprobs=3)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == answer.choices[0].message.content
    for token in logprobs.content:
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob)  # greedy took the likeliest
        assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1 + 1e-6


def test_several_choices_and_seeds(service: Service) -> None:
    sampled = {"temperature": 1.0, "n": 2, "seed": 11, "max_tokens": 32}
    first, second = chat(service, **sampled), chat(service, **sampled)
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert texts[0] != texts[1]
    assert texts != [choice.message.content for choice in chat(service, **sampled | {"seed": 12}).choices]


def test_stop(service: Service) -> None:
    whole = chat(service).choices[0].message.content or ""
    word = whole.split()[3]
    stopped = chat(service, stop=[word]).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.message.content == whole[: whole.index(word)]


def test_errors_are_the_clients_own_exceptions(service: Service) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        chat(service, model="nobody")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        chat(service, temperature=9)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        chat(service, messages=[{"role": "user", "content": "word " * 5000}])
    assert long.value.code == "context_length_exceeded"


def test_thirty_two_at_once_say_what_they_say_alone(service: Service) -> None:
    subjects = ["cancel my order", "get a refund", "create an account", "change my shipping address"]
    questions = [f"How can I {subjects[number % 4]} number {1000 + number}?" for number in range(32)]

    def ask(question: str) -> str:
        answer = chat(service, messages=[{"role": "user", "content": question}], max_tokens=40)
        return answer.choices[0].message.content or ""

    alone = [ask(question) for question in questions]
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(ask, questions))
    assert together == alone
    assert len(set(alone)) > 1
