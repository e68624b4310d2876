"""`POST /tokenize` and `POST /detokenize`: the model's tokenizer."""

import asyncio

from fastapi import APIRouter

from app.api.deps import ObservationDep, Services, ServicesDep
from app.api.schemas.error import ERROR_RESPONSES
from app.api.schemas.tokenize import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from app.api.strict_json import StrictJsonRoute
from app.errors import InvalidRequest
from app.observation import Observation

router = APIRouter(tags=["tokenizer"], route_class=StrictJsonRoute, responses=ERROR_RESPONSES)


@router.post("/tokenize")
async def tokenize(
    body: TokenizeRequest, services: ServicesDep, observation: ObservationDep
) -> TokenizeResponse:
    """Ids of a text as `/v1/completions` would take it, or of messages as chat would."""
    services.check_model(body.model)
    tokens = await _encode(body, services, observation)
    return TokenizeResponse(tokens=tokens, count=len(tokens), max_model_len=services.max_model_len)


async def _encode(body: TokenizeRequest, services: Services, observation: Observation) -> list[int]:
    if body.messages is not None:
        return await services.chat.tokenize([message.message() for message in body.messages], observation)
    return await asyncio.to_thread(services.tokenizer.encode_completion, body.prompt or "")


@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, services: ServicesDep) -> DetokenizeResponse:
    """Text of ids, control tokens spelled out."""
    services.check_model(body.model)
    if body.tokens and not (min(body.tokens) >= 0 and max(body.tokens) < services.tokenizer.vocab_size):
        raise InvalidRequest("A token id is outside of the model's vocabulary.", "tokens")
    return DetokenizeResponse(prompt=await asyncio.to_thread(services.tokenizer.decode, body.tokens))
