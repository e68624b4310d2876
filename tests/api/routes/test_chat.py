"""Chat completions over HTTP: whole, streamed, refused, abandoned."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.engine.interface import EngineState
from app.engine.messages import FinishReason
from app.errors import (
    DeadlineExceeded,
    Draining,
    EngineDied,
    Overloaded,
    ReparteeError,
    SequenceFailed,
    Starting,
)
from app.services.sampling_defaults import SamplingDefaults
from app.services.tokenizer import Message, Tokenizer
from tests.api.conftest import MODEL, build_app, saying
from tests.exposition import value
from tests.fakes import TIMINGS, FakeEngine

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions"
TEXT = "Hello, wörld 👋🏽!"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]} | fields


def events(text: str) -> list[Any]:
    """Parsed data of each event; `[DONE]` stays text."""
    lines = [line for line in text.split("\n\n") if line]
    return [
        json.loads(x) if x.startswith("{") else x for x in (line.removeprefix("data: ") for line in lines)
    ]


def content(chunks: list[Any], index: int = 0) -> str:
    choices = [
        c for chunk in chunks if isinstance(chunk, dict) for c in chunk["choices"] if c["index"] == index
    ]
    return "".join(choice["delta"].get("content", "") for choice in choices)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_a_whole_answer(client: httpx.AsyncClient, engine: FakeEngine, tokenizer: Tokenizer) -> None:
    engine.cached_tokens = 3
    response = await client.post(PATH, json=body())
    assert response.status_code == 200
    answer = response.json()
    assert answer["id"].startswith("chatcmpl-") and answer["object"] == "chat.completion"
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": TEXT, "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    prompt = tokenizer.encode_prompt([Message("user", "Hi")])
    assert engine.submitted[0].prompt == prompt
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert answer["usage"]["completion_tokens"] == len(tokenizer.encode(TEXT))
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    assert answer["timings"]["queue_ms"] == 1.0 and answer["timings"]["total_ms"] > 0
    assert {part.split(";")[0] for part in response.headers["server-timing"].split(", ")} == {
        *("tokenize", "queue", "prefill", "decode")
    }


@pytest.mark.parametrize("tokens_per_output", [1, 3, 100])
async def test_a_stream(client: httpx.AsyncClient, engine: FakeEngine, tokens_per_output: int) -> None:
    engine.tokens_per_output = tokens_per_output
    response = await client.post(PATH, json=body(stream=True))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    *chunks, done = events(response.text)
    assert done == "[DONE]"
    assert len({(c["id"], c["created"], c["model"], c["system_fingerprint"]) for c in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert content(chunks) == TEXT
    assert not any("\ufffd" in content([chunk]) for chunk in chunks)
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[-1]["timings"]["queue_ms"] == 1.0
    assert not any("timings" in chunk or "usage" in chunk for chunk in chunks[:-1])


async def test_usage_comes_in_a_chunk_of_its_own(client: httpx.AsyncClient) -> None:
    request = body(stream=True, stream_options={"include_usage": True})
    *chunks, last, done = events((await client.post(PATH, json=request)).text)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None and "timings" not in chunk for chunk in chunks)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] > 0 and "timings" in last


@pytest.mark.parametrize("n", [1, 2])
async def test_continuous_usage_is_what_all_answers_took_so_far(
    client: httpx.AsyncClient, engine: FakeEngine, tokenizer: Tokenizer, n: int
) -> None:
    engine.cached_tokens = 3
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, last, done = events(
        (await client.post(PATH, json=body(stream=True, n=n, stream_options=options))).text
    )
    assert done == "[DONE]"
    prompt, tokens = len(engine.submitted[0].prompt), len(tokenizer.encode(TEXT))
    usages = [chunk["usage"] for chunk in chunks]
    counts = [usage["completion_tokens"] for usage in usages]
    assert counts[:n] == [0] * n  # the openings
    assert counts == sorted(counts) and len(set(counts)) > 2 and counts[-1] == n * tokens
    assert all(usage["prompt_tokens"] == prompt for usage in usages)
    assert all(usage["total_tokens"] == prompt + usage["completion_tokens"] for usage in usages)
    assert last["choices"] == [] and last["usage"] == usages[-1]
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 3}
    assert [chunk for chunk in (*chunks, last) if "timings" in chunk] == [last]


@pytest.mark.parametrize("include", [True, False, None])
@pytest.mark.parametrize("continuous", [True, False, None])
async def test_usage_is_continuous_only_where_it_is_included(
    client: httpx.AsyncClient, include: bool | None, continuous: bool | None
) -> None:
    options = {"include_usage": include, "continuous_usage_stats": continuous}
    response = await client.post(PATH, json=body(stream=True, stream_options=options))
    *chunks, done = events(response.text)
    assert (response.status_code, done) == (200, "[DONE]")
    told = [chunk.get("usage") is not None for chunk in chunks]
    assert told == [bool(include and continuous)] * (len(chunks) - 1) + [bool(include)]


async def test_choices_count_on_from_the_seed(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    answer = (await client.post(PATH, json=body(n=3, seed=2**63 - 1))).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert [s.sampling.seed for s in engine.submitted] == [2**63 - 1, -(2**63), -(2**63) + 1]
    assert answer["usage"]["prompt_tokens"] == len(engine.submitted[0].prompt)


async def test_a_stream_of_several_choices(client: httpx.AsyncClient) -> None:
    *chunks, done = events((await client.post(PATH, json=body(n=2, stream=True))).text)
    assert [content(chunks, index) for index in (0, 1)] == [TEXT, TEXT]
    assert done == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_string_is_cut_and_ends_the_sequence(stream: bool) -> None:
    engine = FakeEngine(script=saying("one two three four"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(build_app(engine)), base_url="http://toy"
    ) as client:
        response = await client.post(PATH, json=body(stop=["three", "ee"], stream=stream))
    if stream:
        chunks = events(response.text)[:-1]
        text, finish = content(chunks), chunks[-1]["choices"][0]["finish_reason"]
    else:
        choice = response.json()["choices"][0]
        text, finish = choice["message"]["content"], choice["finish_reason"]
    assert (text, finish) == ("one two ", "stop")
    assert engine.aborted == [engine.submitted[0].stream.id]
    assert engine.left == [FinishReason.STOP]
    timings = chunks[-1]["timings"] if stream else response.json()["timings"]
    assert (timings["queue_ms"], timings["prefill_ms"]) == (1.0, 2.0)


async def test_a_streams_logprobs_hide_what_its_text_hides(tokenizer: Tokenizer) -> None:
    engine = FakeEngine(script=saying("one two three four"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(build_app(engine)), base_url="http://toy"
    ) as client:
        response = await client.post(PATH, json=body(stop="three", stream=True, logprobs=True))
    choices = [chunk["choices"][0] for chunk in events(response.text)[:-1]]
    entries = [entry for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
    assert b"".join(bytes(entry["bytes"]) for entry in entries) == b"one two "


async def test_an_answer_that_is_empty_has_its_time_to_the_first_token() -> None:
    app = build_app(FakeEngine(script=lambda prompt: []))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        answer = (await client.post(PATH, json=body())).json()
        exposition = (await client.get("/metrics")).text
    assert (answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]) == ("", 0)
    assert answer["timings"]["ttft_ms"] > 0
    assert f'repartee_time_to_first_token_seconds_count{{model="{MODEL}",stream="false"}} 1.0' in exposition


async def test_the_time_per_token_of_several_answers_is_that_of_one(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    await client.post(PATH, json=body(n=3))
    exposition = (await client.get("/metrics")).text
    name = "repartee_time_per_output_token_seconds"
    found = dict(line.rsplit(" ", 1) for line in exposition.splitlines() if line.startswith(name))
    assert float(found[f'{name}_count{{model="{MODEL}"}}']) == 1
    gap = TIMINGS.decode / (len(tokenizer.encode(TEXT)) - 1)
    assert float(found[f'{name}_sum{{model="{MODEL}"}}']) == pytest.approx(gap)


async def test_the_timings_tell_an_answer_that_the_deadline_cut(engine: FakeEngine) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(build_app(engine)), base_url="http://toy"
    ) as client:
        engine.finish = FinishReason.DEADLINE
        cut = (await client.post(PATH, json=body())).json()
        engine.finish = FinishReason.STOP
        whole = (await client.post(PATH, json=body())).json()
    assert (cut["choices"][0]["finish_reason"], cut["timings"]["deadline_exceeded"]) == ("length", True)
    assert "deadline_exceeded" not in whole["timings"]


async def test_logprobs(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    choice = (await client.post(PATH, json=body(logprobs=True, top_logprobs=2))).json()["choices"][0]
    entries = choice["logprobs"]["content"]
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == TEXT
    assert all(entry["logprob"] == -0.5 and len(entry["top_logprobs"]) == 2 for entry in entries)


async def test_max_tokens_is_clamped_only_when_the_client_names_none() -> None:
    engine = FakeEngine(script=lambda prompt: [300] * 1000, max_model_len=40)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(build_app(engine)), base_url="http://toy"
    ) as client:
        free = (await client.post(PATH, json=body())).json()
        asked = await client.post(PATH, json=body(max_completion_tokens=40))
        long = await client.post(PATH, json=body(messages=[{"role": "user", "content": "订" * 200}]))
    assert free["usage"]["total_tokens"] == 40 and free["choices"][0]["finish_reason"] == "length"
    for response, param in ((asked, "max_completion_tokens"), (long, "messages")):
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"
        assert response.json()["error"]["param"] == param
    assert asked.json()["error"]["message"] == (
        "The prompt and max_completion_tokens together do not fit this model's context of 40 tokens."
    )
    assert len(engine.submitted) == 1


async def test_parameters_reach_the_engine(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    fields = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 7,
        "min_p": 0.1,
        "repetition_penalty": 1.5,
        "max_tokens": 9,
        "frequency_penalty": -2,
        "presence_penalty": 2,
        "min_tokens": 4,
        "ignore_eos": True,
        "priority": -3,
        "logit_bias": {"5": 100, "6": -1.5},
        "stop_token_ids": [9],
        "cache_salt": "pepper",
    }
    assert (await client.post(PATH, json=body(**fields))).status_code == 200
    (request,) = engine.submitted
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0, 0.5, 7, 0.1)
    assert (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty) == (
        1.5,
        -2,
        2,
    )
    assert (sampling.max_tokens, sampling.min_tokens, sampling.ignore_eos) == (9, 4, True)
    assert (sampling.logit_bias, sampling.stop_token_ids) == ({5: 100.0, 6: -1.5}, [9])
    assert (request.priority, request.cache_salt) == (-3, "\0pepper")


async def test_the_defaults_are_those_of_openai(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    assert (await client.post(PATH, json=body(top_k=-1, temperature=None))).status_code == 200
    sampling = engine.submitted[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (1.0, 1.0, 0, None)
    assert engine.submitted[0].timeout is not None and 110 < engine.submitted[0].timeout <= 120


async def test_the_model_knows_better_than_openai_and_the_client_better_than_the_model(
    app: FastAPI, client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    model = SamplingDefaults(temperature=0.3, top_k=20, top_p=0.9)
    app.state.services = replace(app.state.services, defaults=model)
    for fields in ({}, {"temperature": 0, "top_k": -1, "top_p": 1}):
        assert (await client.post(PATH, json=body(**fields))).status_code == 200
    first, second = (request.sampling for request in engine.submitted)
    assert (first.temperature, first.top_k, first.top_p) == (0.3, 20, 0.9)
    assert (second.temperature, second.top_k, second.top_p) == (0.0, 0, 1.0)


async def test_the_deadline_of_the_client(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await client.post(PATH, json=body(), headers={"x-request-timeout-ms": "60000"})
    assert engine.submitted[0].timeout is not None and 50 < engine.submitted[0].timeout < 60
    for wrong in ("0", "-1", "1e3", "soon", "٣"):
        headers = {b"x-request-timeout-ms": wrong.encode()}
        response = await client.post(PATH, json=body(), headers=headers)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "x-request-timeout-ms")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (DeadlineExceeded(), 504, "deadline_exceeded"),
        (SequenceFailed(), 500, "internal_error"),
        (EngineDied(), 500, "internal_error"),
    ],
)
async def test_a_failure_before_the_first_token_is_an_http_error(
    client: httpx.AsyncClient,
    engine: FakeEngine,
    failure: ReparteeError,
    status: int,
    code: str,
    stream: bool,
) -> None:
    engine.fail_after, engine.failure = 0, failure
    response = await client.post(PATH, json=body(stream=stream))
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert (response.headers["x-request-id"] in response.json()["error"]["message"]) is (status == 500)


@pytest.mark.parametrize(("deadline", "events"), [(None, 1), ("60000", 1), ("499", 0)])
async def test_a_deadline_below_the_objective_costs_no_availability(
    app: FastAPI, client: httpx.AsyncClient, engine: FakeEngine, deadline: str | None, events: int
) -> None:
    engine.fail_after, engine.failure = 0, DeadlineExceeded()
    headers = {"x-request-timeout-ms": deadline} if deadline else {}
    assert (await client.post(PATH, json=body(), headers=headers)).status_code == 504
    metrics = app.state.services.metrics
    assert value(metrics, "slo_events_total", task="chat", slo="availability") == events


@pytest.mark.parametrize("n", [1, 2])
async def test_a_failure_after_the_first_token_is_the_last_event(
    client: httpx.AsyncClient, engine: FakeEngine, n: int
) -> None:
    engine.fail_after, engine.failure = 3, EngineDied()
    response = await client.post(PATH, json=body(stream=True, n=n))
    assert response.status_code == 200
    *chunks, last = events(response.text)
    assert content(chunks) and TEXT.startswith(content(chunks))
    assert last["error"]["code"] == "internal_error"
    assert "[DONE]" not in response.text


async def test_a_whole_answer_that_fails_half_way_shows_nothing(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.fail_after, engine.failure = 3, SequenceFailed()
    response = await client.post(PATH, json=body())
    assert response.status_code == 500 and "Hel" not in response.text


@pytest.mark.parametrize(
    ("refusal", "code"), [(Overloaded(2.25), "server_is_overloaded"), (Draining(), "shutting_down")]
)
async def test_a_refusal_says_when_to_come_back(
    client: httpx.AsyncClient, engine: FakeEngine, refusal: ReparteeError, code: str
) -> None:
    engine.refusal = refusal
    response = await client.post(PATH, json=body(stream=True))
    assert (response.status_code, response.json()["error"]["code"]) == (503, code)
    assert int(response.headers["retry-after"]) >= 1
    assert int(response.headers["retry-after-ms"]) >= 1


async def test_refused_while_starting(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.state, engine.refusal = EngineState.STARTING, Starting()
    response = await client.post(PATH, json=body())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "server_is_starting")


async def test_when_a_later_choice_is_refused_the_earlier_ones_are_closed(
    engine: FakeEngine, app: FastAPI
) -> None:
    submit = engine.submit

    def second_refused(*arguments: Any, **options: Any) -> Any:
        if engine.submitted:
            raise SequenceFailed
        return submit(*arguments, **options)

    engine.submit = second_refused  # type: ignore[method-assign]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://toy") as client:
        assert (await client.post(PATH, json=body(n=2))).status_code == 500
    assert engine.aborted == [1]


async def test_an_aborted_sequence_is_no_answer(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.finish = FinishReason.ABORTED
    assert (await client.post(PATH, json=body())).status_code == 500


class Visitor:
    """A client on the bare ASGI interface that leaves when told to."""

    def __init__(self, app: FastAPI, request: dict[str, Any]) -> None:
        self._app = app
        self._body = json.dumps(request).encode()
        self._leave = asyncio.Event()
        self._asked = False
        self.sent: list[dict[str, Any]] = []
        self.on_send: Callable[[], Awaitable[object]] | None = None

    async def visit(self) -> None:
        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": headers,
            "http_version": "1.1",
            "scheme": "http",
            "server": ("toy", 80),
            "client": ("127.0.0.1", 1),
            "root_path": "",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
        }
        await self._app(scope, self._receive, self._send)

    def leave(self) -> None:
        self._leave.set()

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if self.on_send and message["type"] == "http.response.body":
            await self.on_send()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hold_after", [0, 3])
async def test_a_client_that_leaves_frees_its_sequences(
    app: FastAPI, engine: FakeEngine, stream: bool, hold_after: int
) -> None:
    engine.hold, engine.hold_after = True, hold_after
    visitor = Visitor(app, body(stream=stream, n=2))
    visit = asyncio.create_task(visitor.visit())
    await until(lambda: len(engine.submitted) == 2)
    for _ in range(50):
        await asyncio.sleep(0)
    assert engine.aborted == []
    visitor.leave()
    await visit
    assert sorted(engine.aborted) == [1, 2]
    assert "[DONE]" not in visitor.text


async def test_silence_is_filled_with_comments_even_before_the_first_token(engine: FakeEngine) -> None:
    engine.hold = True
    visitor = Visitor(build_app(engine, keep_alive_seconds=0.01), body(stream=True))

    async def after_two_comments() -> None:
        if visitor.text.count(": keep-alive\n\n") == 2:
            engine.release()

    visitor.on_send = after_two_comments
    await visitor.visit()
    assert visitor.text.startswith(": keep-alive\n\n: keep-alive\n\n")
    assert visitor.text.endswith("data: [DONE]\n\n")


async def test_a_failure_after_a_comment_is_an_event(engine: FakeEngine) -> None:
    engine.hold, engine.fail_after, engine.failure = True, 0, DeadlineExceeded()
    visitor = Visitor(build_app(engine, keep_alive_seconds=0.01), body(stream=True))

    async def release() -> None:
        engine.release()

    visitor.on_send = release
    await visitor.visit()
    assert visitor.sent[0]["status"] == 200
    assert json.loads(visitor.text.split("data: ")[-1])["error"]["code"] == "deadline_exceeded"


async def test_a_reader_that_stalls_is_cut_off(engine: FakeEngine) -> None:
    visitor = Visitor(build_app(engine, write_stall_seconds=0.01), body(stream=True))
    engine.hold, engine.hold_after = True, 2
    visitor.on_send = asyncio.Event().wait
    await visitor.visit()
    assert engine.aborted == [1]
    assert "[DONE]" not in visitor.text


def slow(visitor: Visitor) -> Visitor:
    """A reader that is several tokens behind after each write."""

    async def fall_behind() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    visitor.on_send = fall_behind
    return visitor


@pytest.mark.parametrize("n", [1, 2])
async def test_a_reader_that_falls_behind_gets_fewer_chunks_and_all_of_the_text(
    app: FastAPI, tokenizer: Tokenizer, n: int
) -> None:
    visitor = slow(Visitor(app, body(stream=True, stream_options={"include_usage": True}, n=n)))
    await visitor.visit()
    *chunks, usage, done = events(visitor.text)
    tokens = len(tokenizer.encode(TEXT))
    assert [content(chunks, index) for index in range(n)] == [TEXT] * n
    assert len(chunks) < n * tokens / 2
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-1:]] == ["stop"]
    assert (usage["usage"]["completion_tokens"], done) == (n * tokens, "[DONE]")


async def test_tokens_that_share_a_chunk_keep_their_own_logprobs(app: FastAPI, tokenizer: Tokenizer) -> None:
    visitor = slow(Visitor(app, body(stream=True, logprobs=True)))
    await visitor.visit()
    entries = [
        choice["logprobs"]["content"]
        for chunk in events(visitor.text)[:-1]
        for choice in chunk["choices"]
        if choice["logprobs"]
    ]
    assert max(map(len, entries)) > 1
    told = b"".join(bytes(entry["bytes"]) for together in entries for entry in together)
    assert told.decode() == TEXT


async def test_a_stop_string_over_tokens_that_share_a_chunk_ends_the_answer(
    app: FastAPI, engine: FakeEngine
) -> None:
    visitor = slow(Visitor(app, body(stream=True, stop=["rld"])))
    await visitor.visit()
    *chunks, done = events(visitor.text)
    assert (content(chunks), done) == (TEXT[: TEXT.index("rld")], "[DONE]")
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_reader_that_falls_behind_gets_the_text_before_the_failure(
    engine: FakeEngine, tokenizer: Tokenizer
) -> None:
    text = "This is as far as it comes"
    engine.script, engine.fail_after, engine.failure = saying(text), 7, EngineDied()
    visitor = slow(Visitor(build_app(engine), body(stream=True)))
    await visitor.visit()
    *chunks, failed = events(visitor.text)
    assert content(chunks) == tokenizer.decode(tokenizer.encode(text)[:7])
    assert failed["error"]["code"] == "internal_error"
