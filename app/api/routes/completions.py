"""`POST /v1/completions`: whole and streamed."""

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.deps import ObservationDep, ServicesDep, TenantDep, TimeoutDep
from app.api.envelope import Envelope, fingerprint
from app.api.logprobs import completion_logprobs
from app.api.respond import respond_stream, respond_whole
from app.api.schemas.completions import CompletionRequest
from app.api.schemas.error import ERROR_RESPONSES, GENERATED
from app.api.strict_json import StrictJsonRoute
from app.services.answer import Piece
from app.services.tokenizer import Tokenizer

router = APIRouter(tags=["completions"], route_class=StrictJsonRoute, responses=ERROR_RESPONSES)


@router.post("/v1/completions", response_class=Response, responses=GENERATED)
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
    options = body.options(body.logprobs, timeout, tenant, services.defaults)
    envelope = Envelope("cmpl", "text_completion", settings.served_name, fingerprint(services.engine.info))
    shape = _Shape(services.tokenizer, with_logprobs=body.logprobs is not None)
    starting = services.completions.start(body.prompts, options, observation)
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
    """Choice objects of the text shape; keeps where each answer's next log-probability begins."""

    def __init__(self, tokenizer: Tokenizer, *, with_logprobs: bool) -> None:
        self._tokenizer = tokenizer
        self._with_logprobs = with_logprobs
        self._offsets: dict[int, int] = {}

    def opening(self, index: int) -> list[dict[str, Any]]:
        return []

    def whole(self, answer: Piece) -> dict[str, Any]:
        return {
            "index": answer.index,
            "text": answer.text,
            "logprobs": self._logprobs(answer),
            "finish_reason": answer.finish_reason,
        }

    def deltas(self, piece: Piece) -> list[dict[str, Any]]:
        if piece.text or piece.logprobs or piece.finish_reason:
            return [self.whole(piece)]
        return []

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        if not self._with_logprobs:
            return None
        offset = self._offsets.get(piece.index, 0)
        shape = completion_logprobs(piece.logprobs, self._tokenizer, offset)
        self._offsets[piece.index] = offset + sum(map(len, shape["tokens"]))
        return shape
