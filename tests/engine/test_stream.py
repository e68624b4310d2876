"""RequestStream: outputs in order, failures after them, and a reader that may leave at any time."""

import asyncio

import pytest

from app.engine.messages import FinishReason, SequenceOutput
from app.engine.stream import RequestStream, wait_for_any
from app.errors import DeadlineExceeded, EngineDied, ReparteeError, SequenceFailed

pytestmark = pytest.mark.anyio


class Aborts(list[int]):
    """The ids that were aborted."""

    def stream(self) -> RequestStream:
        return RequestStream(7, lambda request_id, reason: self.append(request_id))


def output(token: int, reason: FinishReason | None = None) -> SequenceOutput:
    return SequenceOutput(id=7, tokens=[token], finish_reason=reason)


async def test_outputs_come_in_order_and_then_it_ends() -> None:
    aborts = Aborts()
    stream = aborts.stream()
    for token in range(3):
        stream.feed(output(token))
    stream.feed(output(3, FinishReason.LENGTH))
    stream.feed(output(4))
    assert [item.tokens for item in [item async for item in stream]] == [[0], [1], [2], [3]]
    stream.close()
    assert aborts == []


async def test_a_waiting_reader_is_woken() -> None:
    stream = Aborts().stream()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert not reader.done()
    stream.feed(output(1))
    assert (await reader).tokens == [1]


@pytest.mark.parametrize(
    ("reason", "error"),
    [(FinishReason.FAILED, SequenceFailed), (FinishReason.EXPIRED, DeadlineExceeded)],
)
async def test_an_end_that_is_an_error_is_raised_after_what_came_before(
    reason: FinishReason, error: type[ReparteeError]
) -> None:
    aborts = Aborts()
    stream = aborts.stream()
    stream.feed(output(1))
    stream.feed(SequenceOutput(id=7, finish_reason=reason))
    assert (await anext(stream)).tokens == [1]
    with pytest.raises(error):
        await anext(stream)
    stream.close()
    assert aborts == []


async def test_a_dead_engine_wakes_the_reader() -> None:
    stream = Aborts().stream()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.fail(EngineDied())
    with pytest.raises(EngineDied):
        await reader


async def test_a_request_that_ended_does_not_fail_any_more() -> None:
    stream = Aborts().stream()
    stream.feed(output(1, FinishReason.STOP))
    stream.fail(EngineDied())
    assert [item.tokens async for item in stream] == [[1]]


async def test_closing_twice_aborts_once() -> None:
    aborts = Aborts()
    stream = aborts.stream()
    stream.close()
    stream.close()
    stream.feed(output(1))
    assert aborts == [7]
    assert [item async for item in stream] == []


async def test_closing_wakes_the_reader() -> None:
    stream = Aborts().stream()
    reader = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    stream.close()
    assert await reader is None


async def test_a_cancelled_reader_can_come_back() -> None:
    stream = Aborts().stream()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    stream.feed(output(1))
    assert (await anext(stream)).tokens == [1]


async def test_what_is_ready_is_taken_at_once_and_the_failure_is_left() -> None:
    stream = Aborts().stream()
    stream.feed(output(1))
    stream.feed(output(2))
    stream.fail(EngineDied())
    assert [item.tokens for item in stream.take_ready()] == [[1], [2]]
    assert stream.take_ready() == []
    with pytest.raises(EngineDied):
        await anext(stream)


async def test_news_of_any_stream_wake_the_one_who_waits_for_several() -> None:
    opened = [Aborts().stream() for _ in range(3)]
    for stream in opened:
        waiting = asyncio.ensure_future(wait_for_any(opened))
        await asyncio.sleep(0)
        assert not waiting.done()
        stream.feed(output(1))
        await waiting
        assert [item.tokens for item in stream.take_ready()] == [[1]]


async def test_news_that_are_here_already_are_not_waited_for() -> None:
    quiet, ended = Aborts().stream(), Aborts().stream()
    ended.close()
    await wait_for_any([quiet, ended])
    assert (quiet.exhausted, ended.exhausted) == (False, True)


class Clock:
    """A clock that goes on when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("app.engine.stream.monotonic", lambda: self.now)


async def test_the_longest_silence_is_between_tokens_and_not_before_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, stream = Clock(monkeypatch), Aborts().stream()
    for seconds in (60.0, 0.1, 5.0, 0.1):
        clock.now += seconds
        stream.feed(output(1))
    assert stream.longest_gap == 5.0
    clock.now += 60.0
    stream.take_ready()
    assert stream.longest_gap == 5.0


@pytest.mark.parametrize("end", ["deadline", "failure", "reader"])
async def test_the_silence_before_an_end_counts(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), Aborts().stream()
    stream.feed(output(1))
    clock.now += 9.0
    if end == "deadline":
        stream.feed(SequenceOutput(id=7, finish_reason=FinishReason.DEADLINE))
    elif end == "failure":
        stream.fail(EngineDied())
    else:
        stream.close()
    clock.now += 9.0
    stream.close()
    assert stream.longest_gap == 9.0
