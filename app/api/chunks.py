"""ChunkWriter: streams a generation as chunks, of which only the choice differs from one to the next."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from app.api.envelope import Envelope, encode, timings, usage
from app.api.sse import DONE, event
from app.observation import Observation
from app.services.answer import Piece
from app.services.generation import Generation

Choices = Callable[[Piece], list[dict[str, Any]]]


class ChunkWriter:
    """Turns pieces into event bytes; the constant head of a chunk is serialised once.

    Args:
        envelope: the repeated fields.
        choices: the choice objects that one piece becomes, in order.
        include_usage: end with a chunk of usage, and have `usage: null` on all others.
        continuous_usage: have the usage so far, of all answers, on those others instead; only with `include_usage`.
    """

    def __init__(
        self, envelope: Envelope, choices: Choices, *, include_usage: bool, continuous_usage: bool
    ) -> None:
        self._head = encode(envelope.fields())[:-1] + b',"choices":['
        self._choices = choices
        self._include_usage = include_usage
        self._continuous_usage = include_usage and continuous_usage

    async def stream(
        self, generation: Generation, observation: Observation, opening: list[dict[str, Any]]
    ) -> AsyncGenerator[bytes, None]:
        """Event bytes, one item for each wake-up; the last one ends with `[DONE]`.

        Args:
            opening: choice objects written before the first piece.
        """
        tail = self._tail(generation)
        head = b"".join(self._chunk(choice, tail) for choice in opening)
        async with aclosing(generation.pieces()) as batches:
            async for batch in batches:
                end = self._end(generation, observation) if generation.finished else b""
                tail = self._tail(generation)
                if data := head + self._batch(batch, tail, observation, last=bool(end)) + end:
                    yield data
                head = b""

    def _tail(self, generation: Generation) -> bytes:
        """What a chunk says of the usage when it is written."""
        if self._continuous_usage:
            return b',"usage":' + encode(usage(generation))
        return b',"usage":null' if self._include_usage else b""

    def _batch(self, batch: list[Piece], tail: bytes, observation: Observation, *, last: bool) -> bytes:
        choices = [choice for piece in batch for choice in self._choices(piece)]
        chunks = [self._chunk(choice, tail) for choice in choices]
        if last and not self._include_usage:
            chunks[-1] = self._chunk(choices[-1], _timings(observation))
        return b"".join(chunks)

    def _end(self, generation: Generation, observation: Observation) -> bytes:
        if not self._include_usage:
            return DONE
        last = b'],"usage":' + encode(usage(generation)) + _timings(observation) + b"}"
        return event(self._head + last) + DONE

    def _chunk(self, choice: dict[str, Any], tail: bytes) -> bytes:
        return event(self._head + encode(choice) + b"]" + tail + b"}")


def _timings(observation: Observation) -> bytes:
    return b',"timings":' + encode(timings(observation))
