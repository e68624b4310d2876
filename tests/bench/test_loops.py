"""The client tells the truth about a server whose delays are known: in both loops, and where the server stalls."""

import asyncio
import gc
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from app.bench.ask import CHAT_PATH, Ask, Server
from app.bench.figures import percentile
from app.bench.http_stream import Connections
from app.bench.loops import TooManyInFlight, closed_loop, constant, open_loop, poisson
from app.bench.sample import Sample
from tests.sse_server import DONE, Exchange, content, serving, usage

pytestmark = pytest.mark.anyio
FIRST, GAP, TEXTS = 0.1, 0.1, 4
SLACK = 0.15
"""By how much the middle of many waits may be longer on a busy machine; a client that waits for the end exceeds it."""
STALL = 0.6
Answer = Callable[[Exchange], Awaitable[None]]


async def delayed(exchange: Exchange) -> None:
    """An answer of known delays."""
    await exchange.begin()
    for number in range(TEXTS):
        await asyncio.sleep(GAP if number else FIRST)
        await exchange.send(content("word "))
    await exchange.send(usage(5, TEXTS) + DONE)
    await exchange.finish()


@asynccontextmanager
async def stalling(after: float) -> AsyncIterator[Answer]:
    """Answers at once, but nobody for `STALL` seconds, beginning `after` seconds after the first request."""
    began = 0.0

    async def answer(exchange: Exchange) -> None:
        nonlocal began
        began = began or time.perf_counter()
        into = time.perf_counter() - began - after
        if 0 <= into < STALL:
            await asyncio.sleep(STALL - into)
        await exchange.begin()
        await exchange.send(content("word ") + usage(1, 1) + DONE)
        await exchange.finish()

    yield answer


def ask(leave_after: int | None = None) -> Ask:
    return Ask("chat", "chat", CHAT_PATH, {"model": "m"}, leave_after)


async def opened(base: str, rate: float, seconds: float, **options: int) -> list[Sample]:
    samples: list[Sample] = []
    due = itertools.takewhile(lambda at: at < seconds, constant(rate))
    await open_loop(Server(base + "/v1"), ask, ((at, rate) for at in due), samples, **options)
    return samples


@pytest.mark.parametrize("shape", ["closed", "open"])
async def test_first_tokens_and_gaps_are_the_servers_own(shape: str) -> None:
    samples: list[Sample] = []
    async with serving(delayed) as base, asyncio.timeout(20):
        if shape == "closed":
            await closed_loop(Server(base + "/v1"), ask, users=3, requests=15, seconds=10, samples=samples)
        else:
            samples = await opened(base, rate=20, seconds=0.75)
    assert len(samples) == 15 and {sample.outcome for sample in samples} == {"ok"}
    firsts = [sample.first for sample in samples if sample.first is not None]
    gaps = [gap for sample in samples for gap in sample.gaps]
    assert len(firsts) == 15 and len(gaps) == 15 * (TEXTS - 1)
    assert FIRST <= percentile(firsts, 0.5) <= FIRST + SLACK
    assert GAP / 2 <= percentile(gaps, 0.5) <= GAP + SLACK
    perceived = [sample.per_token for sample in samples if sample.per_token is not None]
    assert GAP / 2 <= percentile(perceived, 0.5) <= GAP + SLACK
    assert min(sample.total for sample in samples) >= FIRST + (TEXTS - 1) * GAP > FIRST + SLACK


async def test_an_open_loop_shows_a_stall_from_when_requests_were_due() -> None:
    async with stalling(0.3) as answer, serving(answer) as base, asyncio.timeout(20):
        samples = await opened(base, rate=50, seconds=1.5)
    assert len(samples) == 75
    waits = [sample.first for sample in samples if sample.first is not None]
    # Arrivals within the stall wait from nothing up to all of it: half of them more than half of it.
    assert sum(wait > STALL / 2 for wait in waits) >= 0.8 * 50 * STALL / 2
    assert percentile(waits, 0.95) > STALL / 2


async def test_a_closed_loop_hides_a_stall_but_in_one_sample_a_user() -> None:
    samples: list[Sample] = []
    async with stalling(0.3) as answer, serving(answer) as base, asyncio.timeout(20):
        server = Server(base + "/v1")
        await closed_loop(server, ask, users=2, requests=10_000, seconds=1.5, samples=samples)
    waits = [sample.first for sample in samples if sample.first is not None]
    assert sum(wait > STALL / 2 for wait in waits) >= 2
    assert percentile(waits, 0.95) < STALL / 2  # and few more, of the hundreds that there are


async def test_a_late_client_is_in_the_latency_and_in_its_lag() -> None:
    async def blocking() -> None:
        await asyncio.sleep(0.2)
        time.sleep(0.3)  # what a client without enough processor does

    async with stalling(100.0) as answer, serving(answer) as base, asyncio.timeout(20):
        (samples, _) = await asyncio.gather(opened(base, rate=50, seconds=0.6), blocking())
    late = max(samples, key=lambda sample: sample.first or 0.0)
    assert late.first is not None and late.first > 0.2 and late.lag > 0.2


async def test_arrivals_never_wait_for_answers() -> None:
    release = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await release.wait()
        await delayed(exchange)

    async with serving(answer) as base, asyncio.timeout(20):
        run = asyncio.create_task(opened(base, rate=100, seconds=0.3))
        await asyncio.sleep(0.5)
        assert not run.done()
        release.set()
        assert len(await run) == 30


async def test_the_samples_of_a_long_run_are_not_gone_through_again_and_again() -> None:
    found = []

    async def answer(exchange: Exchange) -> None:
        found.append(gc.get_threshold()[2])
        await delayed(exchange)

    before = gc.get_threshold()
    async with serving(answer) as base, asyncio.timeout(20):
        await opened(base, rate=20, seconds=0.2)
    assert found and min(found) > 100_000
    assert gc.get_threshold() == before


async def test_too_many_in_flight_are_given_up_and_have_failed() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.left()

    samples: list[Sample] = []
    async with serving(answer) as base, asyncio.timeout(20):
        with pytest.raises(TooManyInFlight, match="10 requests wait"):
            arrivals = ((at, 200.0) for at in constant(200))
            await open_loop(Server(base + "/v1"), ask, arrivals, samples, most_in_flight=10)
    assert {(sample.outcome, sample.error) for sample in samples} == {("error", "Given up.")}


async def test_a_closed_loop_sends_exactly_as_many_as_asked() -> None:
    samples: list[Sample] = []
    async with stalling(100.0) as answer, serving(answer) as base, asyncio.timeout(20):
        await closed_loop(Server(base + "/v1"), ask, users=4, requests=9, seconds=10, samples=samples)
    assert len(samples) == 9


async def test_a_client_that_leaves_closes_its_connection_and_counts_as_left() -> None:
    left = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send(content("a"))
        await exchange.left()
        left.set()

    samples: list[Sample] = []
    async with serving(answer) as base, asyncio.timeout(20):
        server = Server(base + "/v1")
        await closed_loop(server, lambda: ask(leave_after=1), 1, requests=1, seconds=10, samples=samples)
        await left.wait()
    assert samples[0].outcome == "left" and samples[0].first is not None


@pytest.mark.parametrize(
    ("limit", "error"), [(0.05, "No whole answer within 0.05 s."), (20.0, "The stream ended with an error")]
)
async def test_a_failure_is_a_sample(limit: float, error: str) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await asyncio.sleep(0.2)
        await exchange.send(b'data: {"error": {"message": "it broke"}}\n\n')

    samples: list[Sample] = []
    async with serving(answer) as base, asyncio.timeout(20):
        server = Server(base + "/v1", limit=limit)
        await closed_loop(server, ask, users=1, requests=1, seconds=10, samples=samples)
    assert samples[0].outcome == "error" and samples[0].error.startswith(error)


async def test_nobody_there_is_a_sample_too() -> None:
    async with serving(delayed) as base:
        pass
    samples: list[Sample] = []
    await closed_loop(Server(base + "/v1"), ask, users=1, requests=2, seconds=10, samples=samples)
    assert [sample.outcome for sample in samples] == ["error", "error"]
    assert samples[0].error.startswith("No connection: ")


async def test_the_key_goes_with_every_request() -> None:
    keys = []

    async def answer(exchange: Exchange) -> None:
        keys.append(exchange.headers.get("authorization"))
        await delayed(exchange)

    samples: list[Sample] = []
    async with serving(answer) as base, asyncio.timeout(20):
        server = Server(base + "/v1", Connections("secret"))
        await closed_loop(server, ask, users=1, requests=2, seconds=10, samples=samples)
    assert keys == ["Bearer secret"] * 2


def test_poisson_arrivals_come_at_their_rate_and_without_a_rhythm() -> None:
    offsets = list(itertools.islice(poisson(50.0, random.Random(1)), 5000))
    gaps = [later - earlier for earlier, later in pairwise(offsets)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert spread == pytest.approx(mean, rel=0.05)  # of an exponential distribution


def test_constant_arrivals_are_equally_far_apart() -> None:
    assert list(itertools.islice(constant(4.0), 3)) == [0.0, 0.25, 0.5]
