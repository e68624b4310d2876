"""Merging streams: everything in order, nothing lost, the first failure last."""

import pytest

from app.engine.messages import FinishReason, SequenceOutput
from app.engine.stream import RequestStream
from app.errors import EngineDied
from app.services.merge import merge

pytestmark = pytest.mark.anyio


def streams(count: int) -> list[RequestStream]:
    return [RequestStream(i, lambda request_id: None) for i in range(count)]


def output(*tokens: int, end: bool = False) -> SequenceOutput:
    return SequenceOutput(id=0, tokens=list(tokens), finish_reason=FinishReason.STOP if end else None)


@pytest.mark.parametrize("count", [1, 3])
async def test_what_is_ready_comes_in_one_batch(count: int) -> None:
    opened = streams(count)
    for stream in opened:
        stream.feed(output(1))
        stream.feed(output(2, end=True))
    batches = [batch async for batch in merge(opened)]
    assert sum(map(len, batches)) == 2 * count
    assert max(map(len, batches)) > 1
    for index in range(count):
        tokens = [item.tokens for batch in batches for i, item in batch if i == index]
        assert tokens == [[1], [2]]


@pytest.mark.parametrize("count", [1, 3])
async def test_outputs_before_a_failure_are_read_first(count: int) -> None:
    opened = streams(count)
    for stream in opened:
        stream.feed(output(1))
    opened[0].fail(EngineDied())
    seen = list[int]()
    with pytest.raises(EngineDied):
        async for batch in merge(opened):
            seen += [index for index, _ in batch]
    assert 0 in seen
