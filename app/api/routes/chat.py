"""`POST /v1/chat/completions`: whole and streamed."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.chunks import ChunkWriter
from app.api.collect import collect
from app.api.deps import ObservationDep, ServicesDep, TenantDep, TimeoutDep
from app.api.disconnect import until_disconnect
from app.api.envelope import Envelope, encode, fingerprint, timings, usage
from app.api.logprobs import chat_logprobs
from app.api.schemas.chat import ChatRequest
from app.api.schemas.error import ERROR_RESPONSES
from app.api.sse import EventStream, StreamLimits
from app.api.strict_json import StrictJsonRoute
from app.services.answer import Piece
from app.services.generation import Generation
from app.services.tokenizer import Tokenizer

router = APIRouter(tags=["chat"], route_class=StrictJsonRoute, responses=ERROR_RESPONSES)


@router.post("/v1/chat/completions", response_class=Response)
async def chat_completions(
    request: Request,
    body: ChatRequest,
    services: ServicesDep,
    observation: ObservationDep,
    timeout: TimeoutDep,
    tenant: TenantDep,
) -> Response:
    """The assistant's next turn; with `stream`, as server-sent events."""
    services.check_model(body.model)
    settings = services.settings
    options = body.chat_options(settings.default_max_tokens, timeout, tenant)
    messages = [message.message() for message in body.messages]
    shape = "chat.completion.chunk" if body.stream else "chat.completion"
    envelope = Envelope("chatcmpl", shape, settings.served_name, fingerprint(services.engine.info))
    shaping = _Shaping(services.tokenizer, with_logprobs=bool(body.logprobs))
    starting = services.chat.start(messages, options, observation)
    if not body.stream:

        async def whole() -> tuple[Generation, list[Piece]]:
            generation = await starting
            return generation, await collect(generation)

        generation, answers = await until_disconnect(request, whole())
        fields = envelope.fields() | {
            "choices": [shaping.whole(answer) for answer in answers],
            "usage": usage(generation),
            "timings": timings(observation),
        }
        return Response(encode(fields), media_type="application/json")
    generation = await until_disconnect(request, starting)
    writer = ChunkWriter(envelope, shaping.deltas, include_usage=body.include_usage)
    opening = [shaping.opening(index) for index in range(generation.size)]
    limits = StreamLimits(settings.keep_alive_seconds, settings.write_stall_seconds)
    return EventStream(writer.stream(generation, observation, opening), generation.close, limits, observation)


class _Shaping:
    """Choice objects of the chat shape."""

    def __init__(self, tokenizer: Tokenizer, *, with_logprobs: bool) -> None:
        self._tokenizer = tokenizer
        self._with_logprobs = with_logprobs

    def opening(self, index: int) -> dict[str, Any]:
        return _delta(index, {"role": "assistant", "content": ""}, None, None)

    def deltas(self, piece: Piece) -> list[dict[str, Any]]:
        choices = []
        if piece.text or piece.logprobs:
            choices.append(_delta(piece.index, {"content": piece.text}, self._logprobs(piece), None))
        if piece.finish_reason:
            choices.append(_delta(piece.index, {}, None, piece.finish_reason))
        return choices

    def whole(self, answer: Piece) -> dict[str, Any]:
        return {
            "index": answer.index,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": self._logprobs(answer),
            "finish_reason": answer.finish_reason,
        }

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        return chat_logprobs(piece.logprobs, self._tokenizer) if self._with_logprobs else None


def _delta(
    index: int, delta: dict[str, str], logprobs: dict[str, Any] | None, finish: str | None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
