"""The scripted conversation carries its own answers on, and times the first text and not the last."""

import asyncio
from typing import Any

import pytest

from loadtests import conversation
from loadtests.conversation import QUESTIONS
from tests.sse_server import DONE, Exchange, content, event, serving

pytestmark = pytest.mark.anyio
BEFORE_TEXT, WITHIN_TEXT = 0.2, 1.0
END = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])


class Shop:
    """Answers with the number of the turn, slowly; keeps what it was asked."""

    def __init__(self, *last: bytes) -> None:
        self.bodies: list[Any] = []
        self._last = last

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            await exchange.begin(content_type="application/json")
            await exchange.send(b'{"data": [{"id": "m"}]}')
        else:
            self.bodies.append(exchange.body)
            await exchange.begin()
            await asyncio.sleep(BEFORE_TEXT)
            await exchange.send(content(f"answer {len(self.bodies)}"))
            await asyncio.sleep(WITHIN_TEXT)
            for piece in (content("!"), *self._last):
                await exchange.send(piece)
        await exchange.finish()


async def converse(shop: Shop) -> None:
    async with serving(shop.answer) as base, asyncio.timeout(60):
        await asyncio.to_thread(conversation.main, ["--base-url", base])


async def test_each_turn_is_asked_after_those_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop(END, DONE)
    await converse(shop)
    said = [[message["content"] for message in body["messages"]] for body in shop.bodies]
    whole = [text for turn, question in enumerate(QUESTIONS, 1) for text in (question, f"answer {turn}!")]
    assert said == [whole[:1], whole[:3], whole[:5]]
    assert all(body["stream"] and body["temperature"] == 0 and body["model"] == "m" for body in shop.bodies)
    printed = capsys.readouterr().out
    assert all(text in printed for text in whole)
    times = [float(part.split(" ms)")[0]) for part in printed.split("TTFT ")[1:]]
    assert len(times) == 3 and all(time >= BEFORE_TEXT * 1e3 for time in times)
    assert min(times) < WITHIN_TEXT * 1e3  # a client that waits for the end takes longer than both pauses


@pytest.mark.parametrize("last", [[], [DONE]])
async def test_an_answer_without_an_end_is_no_answer(last: list[bytes]) -> None:
    with pytest.raises(conversation.BrokenOff):
        await converse(Shop(*last))
