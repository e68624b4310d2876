"""`POST /v1/chat/completions`: whole and streamed."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.deps import ObservationDep, ServicesDep, TenantDep, TimeoutDep
from app.api.envelope import Envelope, fingerprint
from app.api.logprobs import chat_logprobs
from app.api.respond import respond_stream, respond_whole
from app.api.schemas.chat import ChatRequest
from app.api.schemas.error import ERROR_RESPONSES, GENERATED
from app.api.strict_json import StrictJsonRoute
from app.services.answer import Piece
from app.services.tokenizer import Tokenizer

router = APIRouter(tags=["chat"], route_class=StrictJsonRoute, responses=ERROR_RESPONSES)


@router.post("/v1/chat/completions", response_class=Response, responses=GENERATED)
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
    options = body.chat_options(settings.default_max_tokens, timeout, tenant, services.defaults)
    messages = [message.message() for message in body.messages]
    kind = "chat.completion.chunk" if body.stream else "chat.completion"
    envelope = Envelope("chatcmpl", kind, settings.served_name, fingerprint(services.engine.info))
    shape = _Shape(services.tokenizer, with_logprobs=bool(body.logprobs))
    starting = services.chat.start(messages, options, observation)
    if not body.stream:
        return await respond_whole(request, starting, shape, envelope, observation)
    return await respond_stream(
        request,
        starting,
        shape,
        envelope,
        observation,
        settings,
        include_usage=body.include_usage,
        continuous_usage=body.continuous_usage,
    )


class _Shape:
    """Choice objects of the chat shape."""

    def __init__(self, tokenizer: Tokenizer, *, with_logprobs: bool) -> None:
        self._tokenizer = tokenizer
        self._with_logprobs = with_logprobs

    def opening(self, index: int) -> list[dict[str, Any]]:
        return [_delta(index, {"role": "assistant", "content": ""}, None, None)]

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
