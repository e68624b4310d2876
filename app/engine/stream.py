"""RequestStream: the outputs of one submitted request, as the API process reads them."""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic

from app.engine.messages import FinishReason, SequenceOutput
from app.errors import DeadlineExceeded, ReparteeError, SequenceFailed


class RequestStream:
    """Asynchronous iterator over the outputs of one request; the last one has a `finish_reason`.

    Outputs that arrive while the reader is busy are kept in order; memory is bounded by the request's own
    `max_tokens`. Iterating raises `SequenceFailed`, `DeadlineExceeded` or `EngineDied` where the request ended so.
    Leaving early must go through `close()`, which aborts the request in the engine; closing twice is harmless.
    """

    def __init__(self, request_id: int, abort: Callable[[int, FinishReason], None]) -> None:
        self.id = request_id
        self._abort = abort
        self._ready: list[SequenceOutput] = []
        self._error: ReparteeError | None = None
        self._finished = False
        self._wake: asyncio.Future[None] | None = None
        self._last_tokens: float | None = None
        self.longest_gap = 0.0
        """Seconds of its longest silence between tokens, or between its last ones and its end."""

    def feed(self, output: SequenceOutput) -> None:
        """Take one output from the engine (called by the engine's output loop only)."""
        if self._finished:
            return
        self._note_gap()
        if output.tokens:
            self._last_tokens = monotonic()
        if output.finish_reason is FinishReason.FAILED:
            return self.fail(SequenceFailed())
        if output.finish_reason is FinishReason.EXPIRED:
            return self.fail(DeadlineExceeded())
        self._ready.append(output)
        self._finished = output.finish_reason is not None
        self._notify()

    def fail(self, error: ReparteeError) -> None:
        """End the request with an error; outputs already here are read first."""
        if not self._finished:
            self._note_gap()
            self._error, self._finished = error, True
            self._notify()

    def take_ready(self) -> list[SequenceOutput]:
        """The outputs that are here already, without waiting; a failure is left for the next iteration."""
        ready, self._ready = self._ready, []
        return ready

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self._finished

    @property
    def exhausted(self) -> bool:
        """Whether nothing more will come, and all that came was read.

        Raises:
            ReparteeError: it is, and the request failed.
        """
        if self._ready or not self._finished:
            return False
        if self._error is not None:
            raise self._error
        return True

    def close(self, reason: FinishReason = FinishReason.ABORTED) -> None:
        """The reader leaves, for this reason: abort the request unless it has ended."""
        if not self._finished:
            self._note_gap()
            self._finished = True
            self._abort(self.id, reason)
            self._notify()

    def _note_gap(self) -> None:
        if self._last_tokens is not None:
            self.longest_gap = max(self.longest_gap, monotonic() - self._last_tokens)

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def __aiter__(self) -> "RequestStream":
        return self

    async def __anext__(self) -> SequenceOutput:
        while not self._ready:
            if self.exhausted:
                raise StopAsyncIteration
            await wait_for_any((self,))
        return self._ready.pop(0)

    def _wake_with(self, wake: "asyncio.Future[None]") -> bool:
        """Have `wake` told of news; False where there are some already."""
        if self._ready or self._finished:
            return False
        self._wake = wake
        return True


async def wait_for_any(streams: Iterable[RequestStream]) -> None:
    """Return as soon as one of the streams has outputs that were not read, or has ended; a stream has one reader."""
    wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for stream in streams:
        if not stream._wake_with(wake):
            return
    await wake
