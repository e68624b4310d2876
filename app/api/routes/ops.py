"""What operators and probes ask: alive, ready, started, metrics, version."""

import platform
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app import __version__
from app.api.schemas.error import KEY_RESPONSES
from app.engine.interface import Engine, EngineState
from app.metrics import Metrics
from app.settings import Settings

router = APIRouter(tags=["operations"])

RETRY_AFTER_SECONDS = "2"


def readiness(engine: Engine) -> str:
    """`ready`, or what keeps the service from serving now."""
    if engine.state is not EngineState.READY:
        return engine.state.value
    return "ready" if engine.making_progress else "stuck"


def _probe(status: str, *, good: bool) -> JSONResponse:
    if good:
        return JSONResponse({"status": status})
    return JSONResponse({"status": status}, 503, {"Retry-After": RETRY_AFTER_SECONDS})


# Some load balancers probe with HEAD; the server sends no body then.


@router.get("/livez")
@router.head("/livez", include_in_schema=False)
async def livez() -> dict[str, str]:
    """The API process answers; nothing more is asked, so that a slow model never gets it killed."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "New work would be refused"}})
@router.head("/readyz", include_in_schema=False)
@router.api_route("/health", methods=["GET", "HEAD"], include_in_schema=False)
async def readyz(request: Request) -> JSONResponse:
    """Whether new work would be served: the engine is ready and its steps go on."""
    status = readiness(request.app.state.services.engine)
    return _probe(status, good=status == "ready")


@router.get("/startupz", responses={503: {"description": "The engine was never ready"}})
@router.head("/startupz", include_in_schema=False)
async def startupz(request: Request) -> JSONResponse:
    """Whether the engine was ever ready."""
    started = request.app.state.services.engine.info is not None
    return _probe("started" if started else "starting", good=started)


@router.get("/metrics", response_class=Response, responses=KEY_RESPONSES)
def metrics(request: Request) -> Response:
    """Prometheus exposition; rendered in a worker thread, for it would stall open streams."""
    observer: Metrics = request.app.state.services.metrics
    content, content_type = observer.render(request.headers.get("accept"))
    return Response(content, media_type=content_type)


@router.get("/version", responses=KEY_RESPONSES)
async def version(request: Request) -> dict[str, Any]:
    """Build, model and device; what only the engine knows is null until it was ready."""
    settings: Settings = request.app.state.services.settings
    engine: Engine = request.app.state.services.engine
    info = engine.info
    return {
        "version": __version__,
        "revision": settings.revision or None,
        "python": platform.python_version(),
        "model": settings.served_name,
        "quantization": info.quantization if info else None,
        "device": info.device if info else None,
        "dtype": info.dtype if info else None,
        "kernels": info.kernels if info else None,
        "torch": info.torch if info else None,
        "max_model_len": info.max_model_len if info else None,
        "parameters": info.parameters if info else None,
    }
