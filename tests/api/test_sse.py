"""EventStream: whoever ends it, what is behind it is closed."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.api.sse import ABORT, KEEP_ALIVE, EventStream, StreamLimits
from app.errors import SequenceFailed
from app.observation import Observation

pytestmark = pytest.mark.anyio
PATIENT = StreamLimits(keep_alive=60, write_stall=60)


class Run:
    """One response and what became of it."""

    def __init__(self, events: AsyncGenerator[bytes, None], limits: StreamLimits = PATIENT) -> None:
        self.observation = Observation("req_1")
        self.closed = 0
        self.sent: list[Any] = []
        self.leave = asyncio.Event()
        self.response = EventStream(events, self._close, limits, self.observation)
        self.stalls_at = b""
        self.cut = 0

    def _close(self) -> None:
        self.closed += 1

    async def _receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        if self.stalls_at and message.get("body") == self.stalls_at:
            await asyncio.Event().wait()

    def _cut(self) -> None:
        self.cut += 1

    async def __call__(self) -> None:
        scope = {"type": "http", "extensions": {ABORT: {"abort": self._cut}}}
        async with asyncio.timeout(30):
            await self.response(scope, self._receive, self._send)


async def two() -> AsyncGenerator[bytes, None]:
    yield b"data: 1\n\n"
    yield b"data: 2\n\n"


async def broken_after(count: int, error: Exception) -> AsyncGenerator[bytes, None]:
    for _ in range(count):
        yield b"data: 1\n\n"
    raise error


async def test_each_item_is_one_write() -> None:
    run = Run(two())
    await run()
    assert [message.get("body") for message in run.sent[1:]] == [b"data: 1\n\n", b"data: 2\n\n", b""]
    assert (run.closed, run.observation.outcome, run.observation.stream) == (1, "ok", True)
    assert b"content-length" not in dict(run.sent[0]["headers"])


async def test_a_failure_before_the_first_byte_goes_up() -> None:
    run = Run(broken_after(0, SequenceFailed()))
    with pytest.raises(SequenceFailed):
        await run()
    assert (run.sent, run.closed) == ([], 1)


async def test_a_failure_after_the_first_byte_is_an_event() -> None:
    run = Run(broken_after(1, SequenceFailed()))
    await run()
    assert b'"code":"internal_error"' in run.sent[-2]["body"]
    assert (run.closed, run.observation.outcome, run.observation.error_code) == (
        1,
        "error",
        "sequence_failed",
    )


async def test_an_unexpected_failure_is_an_event_and_goes_up() -> None:
    run = Run(broken_after(1, RuntimeError("internal detail")))
    with pytest.raises(RuntimeError):
        await run()
    assert b'"code":"internal_error"' in run.sent[-2]["body"] and b"detail" not in run.sent[-2]["body"]
    assert run.closed == 1


async def test_a_client_that_left_ends_it() -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    run = Run(endless())
    run.leave.set()
    await run()
    assert (run.closed, run.observation.outcome) == (1, "cancelled")
    assert run.cut == 0


async def test_a_write_that_stalls_cuts_the_connection_whenever_it_began() -> None:
    async def later() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        await asyncio.sleep(0.05)
        yield b"data: 2\n\n"

    run = Run(later(), StreamLimits(keep_alive=60, write_stall=0.03))
    run.stalls_at = b"data: 2\n\n"
    await run()
    assert (run.closed, run.cut, run.observation.outcome) == (1, 1, "cancelled")


async def test_a_slow_answer_to_a_reader_that_reads_is_no_stall() -> None:
    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        await asyncio.sleep(0.2)
        yield b"data: 2\n\n"

    run = Run(slow(), StreamLimits(keep_alive=60, write_stall=0.01))
    await run()
    assert (run.cut, run.observation.outcome, run.sent[-1]["more_body"]) == (0, "ok", False)


async def test_a_keep_alive_that_nobody_reads_cuts_the_connection() -> None:
    async def silent() -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield b""

    run = Run(silent(), StreamLimits(keep_alive=0.01, write_stall=0.02))
    run.stalls_at = KEEP_ALIVE
    await run()
    assert (run.closed, run.cut, run.observation.outcome) == (1, 1, "cancelled")
