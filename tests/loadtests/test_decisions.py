"""Decisions are asked for one after another, then by many clients at once."""

import asyncio

import pytest

from app.bench.http_stream import RequestFailed
from loadtests.cases import Endpoint
from loadtests.decisions import decisions
from loadtests.prompts import LABELS
from tests.sse_server import Exchange, serving

pytestmark = pytest.mark.anyio


async def test_one_client_and_then_many() -> None:
    bodies = []
    at_once = most = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal at_once, most
        bodies.append((exchange.path, exchange.body))
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.002)
        at_once -= 1
        await exchange.begin(content_type="application/json")
        await exchange.send(b"{}")
        await exchange.finish()

    async with serving(answer) as base:
        figures = await decisions(Endpoint(base, "m"), 5, 0.5)
    assert most == 5
    assert figures["decision p50 ms"] >= 2 and figures["5 clients, decisions/s"] > 5
    assert {path for path, _ in bodies} == {"/v1/systemone"}
    assert len({body["state"] for _, body in bodies}) == len(bodies)
    (question,) = bodies[0][1]["questions"].values()
    assert question["type"] == "choice" and list(question["criteria"]) == LABELS


async def test_a_refusal_is_no_decision() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin("422 Unprocessable Entity", "application/json")
        await exchange.send(b"{}")
        await exchange.finish()

    async with serving(answer) as base:
        with pytest.raises(RequestFailed, match="422"):
            await decisions(Endpoint(base, "m"), 2, 0.1)
