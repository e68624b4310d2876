"""What the figures mean, computed from timelines with known instants."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from app.bench.client import Timeline
from app.bench.http_stream import RequestFailed
from app.services.tokenizer import Message, Tokenizer
from app.settings import EMBEDDED_MODEL
from loadtests.cases import (
    Endpoint,
    classify,
    first_tokens,
    gap_figures,
    long_prompts,
    medians,
    speed,
    speed_figures,
)
from loadtests.prompts import LABELS, letters, question
from tests.sse_server import DONE, Exchange, content, serving, usage


def timeline(texts: list[float], *, tokens: int | None = None, sent: float = 0.0) -> Timeline:
    return Timeline(
        sent, texts, texts[-1], prompt_tokens=100, tokens=len(texts) if tokens is None else tokens
    )


def hanging(answer: Callable[[Exchange], Awaitable[None]]) -> Callable[[Exchange], Awaitable[None]]:
    """Answers, and then keeps the connection until the client leaves."""

    async def answer_and_hang(exchange: Exchange) -> None:
        await answer(exchange)
        await exchange.left()

    return answer_and_hang


def test_one_stream() -> None:
    figures = speed_figures([timeline([2.0, 2.5, 3.0, 3.5, 4.0])])
    assert figures == {"TTFT ms": 2000, "tok/s": 5 / 4, "decode tok/s": 2, "gap ms": 500}


def test_decode_speed_counts_the_time_when_all_decode() -> None:
    early = timeline([1.0, 2.0, 3.0, 4.0, 5.0])
    late = timeline([3.0, 4.0, 5.0, 6.0])
    figures = speed_figures([early, late])
    assert figures["decode tok/s"] == pytest.approx(2)
    assert figures["tok/s"] == pytest.approx(9 / 6)


def test_streams_one_after_another_have_no_common_decode_speed() -> None:
    assert "decode tok/s" not in speed_figures([timeline([1.0, 2.0]), timeline([3.0, 4.0])])


def test_tokens_without_text_count() -> None:
    assert speed_figures([timeline([1.0, 2.0, 3.0], tokens=6)])["tok/s"] == 2


def test_gaps_are_those_during_the_long_prompt() -> None:
    stream = timeline([0.0, 5.0, 6.0, 7.0, 9.0, 10.0, 20.0])
    figures = gap_figures([stream], [timeline([7.5], sent=5.5), timeline([9.5], sent=7.5)])
    assert figures == {
        "longest gap ms": 2000,
        "p99 gap ms": 2000,
        "median step ms": 1000,
        "gap ratio": 2,
        "p99 gap ratio": 2,
        "prefill tok/s": 50,
        "undisturbed step ms": 7500,
    }


def test_one_gap_in_a_hundred_does_not_show_in_the_99th_percentile() -> None:
    arrivals = [float(second) for second in range(1, 201)]
    stream = timeline([*arrivals, 210.0])
    figures = gap_figures([stream], [timeline([300.0], sent=0.0)])
    assert figures["longest gap ms"] == 10_000 and figures["p99 gap ratio"] == 1
    assert "undisturbed step ms" not in figures


def test_gaps_before_all_streams_decode_are_no_undisturbed_ones() -> None:
    early, late = timeline([1.0, 3.0, 5.0, 6.0, 7.0]), timeline([5.0, 6.0, 7.0])
    figures = gap_figures([early, late], [timeline([6.5], sent=6.2)])
    assert figures["undisturbed step ms"] == 1000


def test_a_long_prompt_that_met_no_stream_proves_nothing() -> None:
    with pytest.raises(RequestFailed):
        gap_figures([timeline([1.0, 2.0])], [timeline([9.0], sent=8.0)])


def test_prompts_have_their_length_and_differ() -> None:
    chooser = random.Random(1)
    first, second = letters(64, chooser), letters(64, chooser)
    assert len(first) == 64 and first.isascii() and first[:16] != second[:16]
    assert len(set(LABELS)) == 20


@pytest.mark.anyio
async def test_a_stream_is_cut_at_the_limit_and_counted_so_far() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for _ in range(3):
            await exchange.send(content("a"))

    async with serving(hanging(answer)) as base:
        found = await Endpoint(base, "m", chat=True, limit=1.0).generate(8, 100)
    assert found.tokens == 3
    assert found.ended == found.texts[-1]


@pytest.mark.anyio
async def test_a_server_that_says_nothing_fails() -> None:
    async with serving(hanging(Exchange.begin)) as base:
        with pytest.raises(RequestFailed, match="two tokens"):
            await Endpoint(base, "m", limit=0.1).generate(8, 100)


@pytest.mark.anyio
async def test_a_prompt_of_another_length_is_refused() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send(content("a") + usage(9, 2) + DONE)
        await exchange.finish()

    async with serving(answer) as base:
        with pytest.raises(RequestFailed, match="9 tokens instead of 8"):
            await Endpoint(base, "m").generate(8, 2)


@pytest.mark.anyio
async def test_speed_asks_for_distinct_greedy_completions() -> None:
    bodies = []

    async def answer(exchange: Exchange) -> None:
        bodies.append(exchange.body)
        await exchange.begin()
        await exchange.send(content("a") + usage(8, 2) + DONE)
        await exchange.finish()

    async with serving(answer) as base:
        await speed(Endpoint(base, "m", extra={"ignore_eos": True}), 3, 8, 2)
    assert len({body["prompt"] for body in bodies}) == 3
    assert all(len(body["prompt"]) == 8 and body["max_tokens"] == 2 for body in bodies)
    assert all(body["temperature"] == 0 and body["ignore_eos"] for body in bodies)


@pytest.mark.anyio
async def test_chats_can_be_asked_for_as_token_ids() -> None:
    bodies = []

    async def answer(exchange: Exchange) -> None:
        bodies.append((exchange.path, exchange.body["prompt"]))
        await exchange.begin()
        await exchange.send(content("a") + usage(len(exchange.body["prompt"]), 2) + DONE)
        await exchange.finish()

    tokenizer = Tokenizer.from_directory(EMBEDDED_MODEL)
    async with serving(answer) as base:
        await Endpoint(base, "m", tokenizer=tokenizer, chooser=random.Random(3)).generate(8, 2)
    message = Message("user", question(random.Random(3)))
    assert bodies == [("/v1/completions", tokenizer.encode_prompt([message]))]


@pytest.mark.anyio
async def test_first_tokens_are_timed_by_the_length_of_the_prompt() -> None:
    lengths = []

    async def answer(exchange: Exchange) -> None:
        lengths.append(len(exchange.body["prompt"]))
        await exchange.begin()
        await exchange.send(content("a") + usage(lengths[-1], 1) + DONE)
        await exchange.finish()

    async with serving(answer) as base:
        figures = await first_tokens(Endpoint(base, "m"), (8, 2048), 2)
    assert lengths == [8, 8, 2048, 2048]
    assert set(figures) == {"TTFT ms, 8 tokens", "TTFT ms, 2,048 tokens"}


@pytest.mark.anyio
async def test_long_prompts_come_one_after_another_once_all_streams_decode() -> None:
    order: list[int] = []

    async def answer(exchange: Exchange) -> None:
        length = len(exchange.body["prompt"])
        order.append(length)
        await exchange.begin()
        for _ in range(1 if length == 64 else 40):
            await exchange.send(content("a"))
            await asyncio.sleep(0.005)
        order.append(-length)
        await exchange.send(usage(length, 40) + DONE)
        await exchange.finish()

    async with serving(answer) as base:
        figures = await long_prompts(Endpoint(base, "m"), 2, 8, 40, 64, 3)
    assert order == [8, 8, *[64, -64] * 3, -8, -8]
    assert figures["p99 gap ratio"] <= figures["gap ratio"]


def test_a_median_is_of_the_runs_that_have_the_figure() -> None:
    assert medians([{"a": 1.0}, {"a": 5.0, "b": 7.0}, {"a": 2.0}]) == {"a": 2.0, "b": 7.0}


@pytest.mark.anyio
async def test_classify_warms_up_and_repeats() -> None:
    paths = []

    async def answer(exchange: Exchange) -> None:
        paths.append((exchange.path, len(exchange.body["labels"])))
        await exchange.begin(content_type="application/json")
        await exchange.send(b"{}")
        await exchange.finish()

    async with serving(answer) as base:
        figures = await classify(Endpoint(base, "m"), 4)
    assert paths == [("/v1/classify", 20)] * 5
    assert figures["classify p50 ms"] > 0
