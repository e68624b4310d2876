"""`POST /v1/completions`: whole and streamed."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.chunks import ChunkWriter
from app.api.collect import collect
from app.api.deps import ObservationDep, ServicesDep, TenantDep, TimeoutDep
from app.api.disconnect import until_disconnect
from app.api.envelope import Envelope, encode, fingerprint, timings, usage
from app.api.logprobs import completion_logprobs
from app.api.schemas.completions import CompletionRequest
from app.api.schemas.error import ERROR_RESPONSES
from app.api.sse import EventStream, StreamLimits
from app.api.strict_json import StrictJsonRoute
from app.services.answer import Piece
from app.services.generation import Generation
from app.services.tokenizer import Tokenizer

router = APIRouter(tags=["completions"], route_class=StrictJsonRoute, responses=ERROR_RESPONSES)


@router.post("/v1/completions", response_class=Response)
async def completions(
    request: Request,
    body: CompletionRequest,
    services: ServicesDep,
    observation: ObservationDep,
    timeout: TimeoutDep,
    tenant: TenantDep,
) -> Response:
    """What follows each prompt; with `stream`, as server-sent events."""
    services.check_model(body.model)
    settings = services.settings
    options = body.options(body.logprobs, timeout, tenant)
    envelope = Envelope("cmpl", "text_completion", settings.served_name, fingerprint(services.engine.info))
    shaping = _Shaping(services.tokenizer, with_logprobs=body.logprobs is not None)
    starting = services.completions.start(body.prompts, options, observation)
    if not body.stream:

        async def whole() -> tuple[Generation, list[Piece]]:
            generation = await starting
            return generation, await collect(generation)

        generation, answers = await until_disconnect(request, whole())
        fields = envelope.fields() | {
            "choices": [shaping.choice(answer) for answer in answers],
            "usage": usage(generation),
            "timings": timings(observation),
        }
        return Response(encode(fields), media_type="application/json")
    generation = await until_disconnect(request, starting)
    writer = ChunkWriter(envelope, shaping.deltas, include_usage=body.include_usage)
    limits = StreamLimits(settings.keep_alive_seconds, settings.write_stall_seconds)
    return EventStream(writer.stream(generation, observation, []), generation.close, limits, observation)


class _Shaping:
    """Choice objects of the text shape; keeps where each answer's next log-probability begins."""

    def __init__(self, tokenizer: Tokenizer, *, with_logprobs: bool) -> None:
        self._tokenizer = tokenizer
        self._with_logprobs = with_logprobs
        self._offsets: dict[int, int] = {}

    def choice(self, piece: Piece) -> dict[str, Any]:
        return {
            "index": piece.index,
            "text": piece.text,
            "logprobs": self._logprobs(piece),
            "finish_reason": piece.finish_reason,
        }

    def deltas(self, piece: Piece) -> list[dict[str, Any]]:
        if piece.text or piece.logprobs or piece.finish_reason:
            return [self.choice(piece)]
        return []

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        if not self._with_logprobs:
            return None
        offset = self._offsets.get(piece.index, 0)
        shape = completion_logprobs(piece.logprobs, self._tokenizer, offset)
        self._offsets[piece.index] = offset + sum(map(len, shape["tokens"]))
        return shape
