"""Merges the outputs of several request streams into one iteration, a list for each wake-up."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from app.engine.messages import SequenceOutput
from app.engine.stream import RequestStream
from app.errors import ReparteeError

Indexed = tuple[int, SequenceOutput]


async def merge(streams: Sequence[RequestStream]) -> AsyncGenerator[list[Indexed], None]:
    """All outputs that are ready at a wake-up, each with its stream's index, until every stream has ended.

    Raises:
        ReparteeError: the first stream that failed; outputs before it were yielded.
    """
    if len(streams) == 1:
        async for output in streams[0]:
            yield [(0, output), *((0, more) for more in streams[0].take_ready())]
        return
    async for batch in _merge_many(streams):
        yield batch


async def _merge_many(streams: Sequence[RequestStream]) -> AsyncGenerator[list[Indexed], None]:
    ready: asyncio.Queue[Indexed | ReparteeError | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(i, stream, ready)) for i, stream in enumerate(streams)]
    open_streams = len(streams)
    try:
        while open_streams:
            events = [await ready.get()]
            while not ready.empty():
                events.append(ready.get_nowait())
            if batch := [event for event in events if isinstance(event, tuple)]:
                yield batch
            for event in events:
                if isinstance(event, ReparteeError):
                    raise event
            open_streams -= events.count(None)
    finally:
        for task in tasks:
            task.cancel()


async def _pump(
    index: int, stream: RequestStream, ready: "asyncio.Queue[Indexed | ReparteeError | None]"
) -> None:
    try:
        async for output in stream:
            ready.put_nowait((index, output))
        ready.put_nowait(None)
    except ReparteeError as error:
        ready.put_nowait(error)
