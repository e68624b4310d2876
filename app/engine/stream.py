"""RequestStream: the outputs of one submitted request, as the API process reads them."""

import asyncio
from collections.abc import Callable

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

    def feed(self, output: SequenceOutput) -> None:
        """Take one output from the engine (called by the engine's output loop only)."""
        if self._finished:
            return
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

    def close(self, reason: FinishReason = FinishReason.ABORTED) -> None:
        """The reader leaves, for this reason: abort the request unless it has ended."""
        if not self._finished:
            self._finished = True
            self._abort(self.id, reason)
            self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def __aiter__(self) -> "RequestStream":
        return self

    async def __anext__(self) -> SequenceOutput:
        while not self._ready:
            if self._error is not None:
                raise self._error
            if self._finished:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        return self._ready.pop(0)
