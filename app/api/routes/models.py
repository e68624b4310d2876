"""`GET /v1/models`: what is served."""

from fastapi import APIRouter

from app.api.deps import Services, ServicesDep
from app.api.schemas.error import ERROR_RESPONSES
from app.api.schemas.models import Model, ModelList

router = APIRouter(tags=["models"], responses=ERROR_RESPONSES)


def _served(services: Services) -> Model:
    return Model(
        id=services.settings.served_name, created=services.created, max_model_len=services.max_model_len
    )


@router.get("/v1/models")
async def list_models(services: ServicesDep) -> ModelList:
    """The one model of this server."""
    return ModelList(data=[_served(services)])


@router.get("/v1/models/{model:path}")
async def get_model(model: str, services: ServicesDep) -> Model:
    """The model, if it is the one served; names may hold slashes."""
    services.check_model(model)
    return _served(services)
