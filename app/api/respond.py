"""Answers a request with a generation, whole or as a stream, in the shape of its endpoint."""

from collections.abc import Coroutine
from typing import Any, Protocol

from fastapi import Request, Response

from app.api.chunks import ChunkWriter
from app.api.collect import collect
from app.api.disconnect import until_disconnect
from app.api.envelope import Envelope, encode, timings, usage
from app.api.sse import EventStream, StreamLimits
from app.observation import Observation
from app.services.answer import Piece
from app.services.generation import Generation
from app.settings import Settings


class Shape(Protocol):
    """The choice objects of one endpoint."""

    def whole(self, answer: Piece) -> dict[str, Any]:
        """The choice of a whole answer."""

    def deltas(self, piece: Piece) -> list[dict[str, Any]]:
        """The choices of a stream that one piece becomes, in order."""

    def opening(self, index: int) -> list[dict[str, Any]]:
        """The choices that come before an answer's first piece."""


async def respond_whole(
    request: Request,
    starting: Coroutine[Any, Any, Generation],
    shape: Shape,
    envelope: Envelope,
    observation: Observation,
) -> Response:
    """One JSON body; a client that leaves ends the generation."""

    async def whole() -> tuple[Generation, list[Piece]]:
        generation = await starting
        return generation, await collect(generation)

    generation, answers = await until_disconnect(request, whole())
    fields = envelope.fields() | {
        "choices": [shape.whole(answer) for answer in answers],
        "usage": usage(generation),
        "timings": timings(observation),
    }
    return Response(encode(fields), media_type="application/json")


async def respond_stream(
    request: Request,
    starting: Coroutine[Any, Any, Generation],
    shape: Shape,
    envelope: Envelope,
    observation: Observation,
    settings: Settings,
    *,
    include_usage: bool,
    continuous_usage: bool,
) -> Response:
    """Server-sent events; a failure before the first of them is an HTTP error."""
    generation = await until_disconnect(request, starting)
    writer = ChunkWriter(
        envelope, shape.deltas, include_usage=include_usage, continuous_usage=continuous_usage
    )
    opening = [choice for index in range(generation.size) for choice in shape.opening(index)]
    limits = StreamLimits(settings.keep_alive_seconds, settings.write_stall_seconds)
    return EventStream(writer.stream(generation, observation, opening), generation.close, limits, observation)
