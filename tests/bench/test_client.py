"""The client notes texts when they arrive, counts tokens by usage, and takes no broken answer for a whole one."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from app.bench.client import Timeline, stream
from app.bench.http_stream import RequestFailed
from tests.sse_server import DONE, Exchange, content, event, serving, usage

pytestmark = pytest.mark.anyio
DELAY = 0.05


async def ask(answer: Callable[[Exchange], Awaitable[None]], timeline: Timeline | None = None) -> Timeline:
    async with serving(answer) as base, asyncio.timeout(20):
        return await stream(base + "/v1/chat/completions", {"model": "m"}, timeline)


def replying(*pieces: bytes) -> Callable[[Exchange], Awaitable[None]]:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for piece in pieces:
            await exchange.send(piece)
        await exchange.finish()

    return answer


async def test_each_text_is_noted_before_the_next_is_sent() -> None:
    timeline = Timeline(0.0)

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send(event(choices=[{"delta": {"role": "assistant", "content": ""}}]))
        await asyncio.sleep(DELAY)
        for number in range(3):
            await exchange.send(content("word"))
            while len(timeline.texts) <= number:  # would never end if the client held texts back
                await asyncio.sleep(0.001)
        await exchange.send(b": keep-alive\n\n" + usage(5, 9) + DONE)
        await exchange.finish()

    found = await ask(answer, timeline)
    assert found is timeline
    assert len(found.texts) == 3 and len(found.gaps) == 2
    assert found.ttft >= DELAY
    assert found.total >= found.ttft + sum(found.gaps)


async def test_tokens_are_those_of_the_usage() -> None:
    found = await ask(replying(content("a"), content("b"), usage(5, 9), DONE))
    assert (found.prompt_tokens, found.tokens) == (5, 9)


async def test_the_request_asks_for_a_stream_with_usage() -> None:
    bodies = []

    async def answer(exchange: Exchange) -> None:
        bodies.append(exchange.body)
        await replying(content("a"), usage(1, 1), DONE)(exchange)

    await ask(answer)
    assert bodies == [{"model": "m", "stream": True, "stream_options": {"include_usage": True}}]


async def test_events_may_be_cut_anywhere() -> None:
    whole = content("é") + content("b") + usage(2, 3) + DONE
    found = await ask(replying(*[whole[i : i + 1] for i in range(len(whole))]))
    assert (len(found.texts), found.tokens) == (2, 3)


async def test_completions_count_as_well() -> None:
    text = event(choices=[{"index": 0, "text": "x"}])
    empty = event(choices=[{"index": 0, "text": "", "finish_reason": "length"}])
    found = await ask(replying(text, empty, usage(2, 1), DONE))
    assert len(found.texts) == 1


async def test_texts_of_one_read_leave_no_gap() -> None:
    found = await ask(replying(content("a") + content("b") + content("c") + usage(1, 3) + DONE))
    assert len(found.texts) == 3
    assert found.gaps == []


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([content("a"), DONE], id="no usage"),
        pytest.param([usage(1, 1), DONE], id="no text"),
        pytest.param([content("a"), event(error={"message": "it broke"})], id="error event"),
        pytest.param([content("a"), b"data: {it broke}\n\n"], id="no JSON"),
    ],
)
async def test_an_answer_that_is_not_whole_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(RequestFailed):
        await ask(replying(*pieces))


async def test_an_answer_that_breaks_off_is_refused() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send(content("a") + usage(1, 1))

    with pytest.raises(RequestFailed, match="ended within"):
        await ask(answer)


async def test_an_error_status_is_told_with_its_body() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin("503 Service Unavailable", "application/json")
        with suppress(ConnectionError):
            await exchange.send(b'{"error": {"code": "starting"}}')
            await exchange.finish()

    with pytest.raises(RequestFailed, match=r"503.*starting"):
        await ask(answer)
