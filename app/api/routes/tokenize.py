"""`POST /tokenize` and `POST /detokenize`: the model's tokenizer."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from fastapi import APIRouter, Response

from app.api.deps import ObservationDep, Services, ServicesDep
from app.api.envelope import encode
from app.api.schemas.error import ERROR_RESPONSES
from app.api.schemas.tokenize import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from app.api.strict_json import StrictJsonRoute
from app.errors import InvalidRequest
from app.services import aside

router = APIRouter(tags=["tokenizer"], route_class=StrictJsonRoute, responses=ERROR_RESPONSES)

INLINE_ITEMS = 4_000
"""Up to so many characters or ids are converted on the event loop: less than a thread hop costs at the tail."""
_Items = TypeVar("_Items", str, list[int])


@router.post("/tokenize", response_model=TokenizeResponse)
async def tokenize(body: TokenizeRequest, services: ServicesDep, observation: ObservationDep) -> Response:
    """Ids of a text as `/v1/completions` would take it, or of messages as chat would."""
    services.check_model(body.model)
    if body.messages is None:
        return await _answer(_ids, services, body.prompt or "")
    tokens = await services.chat.tokenize([message.message() for message in body.messages], observation)
    return _json(_told(tokens, services))


@router.post("/detokenize", response_model=DetokenizeResponse)
async def detokenize(body: DetokenizeRequest, services: ServicesDep) -> Response:
    """Text of ids, control tokens spelled out."""
    services.check_model(body.model)
    return await _answer(_text, services, body.tokens)


async def _answer(
    convert: Callable[[_Items, Services], bytes], services: Services, items: _Items
) -> Response:
    inline = len(items) <= INLINE_ITEMS
    return _json(convert(items, services) if inline else await aside.texts(convert, items, services))


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _ids(text: str, services: Services) -> bytes:
    return _told(services.tokenizer.encode_completion(text), services)


def _told(tokens: Sequence[int], services: Services) -> bytes:
    return encode({"tokens": tokens, "count": len(tokens), "max_model_len": services.max_model_len})


def _text(ids: list[int], services: Services) -> bytes:
    if ids and not (min(ids) >= 0 and max(ids) < services.tokenizer.vocab_size):
        raise InvalidRequest("A token id is outside of the model's vocabulary.", "tokens")
    return encode({"prompt": services.tokenizer.decode(ids)})
