"""The service without its guards, to see what they cost: `python -m loadtests.reliability.unguarded_service`.

There is no setting for this. Keys and quotas, admission before the body, the bounds of a body, strict JSON, strict HTTP
and masking are taken out of this process alone: what each of them would wrap is left bare, and the framework's own
parser reads the bodies.
"""

import sys
from typing import Any

import uvicorn
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app import logs, main, serve
from app.api.admission import AdmissionMiddleware
from app.api.body_limit import BodyLimitMiddleware
from app.api.cors import OwnPagesMiddleware
from app.api.security import AuthMiddleware, Principal
from app.api.strict_json import StrictJsonRoute

_GUARDS = (OwnPagesMiddleware, AuthMiddleware, AdmissionMiddleware, BodyLimitMiddleware)


class Everybody:
    """Admits everyone, and gives the routes the principal that they ask for."""

    def __init__(self, app: Any, **_: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection event."""
        if scope["type"] == "http":
            scope["state"]["principal"] = Principal()
        await self._app(scope, receive, send)


def take_out_guards() -> None:
    """Leave them out of what this process builds from now on."""
    guarded, config_of = main._middleware, serve.uvicorn_config

    def middleware(*arguments: Any) -> list[Middleware]:
        kept = [one for one in guarded(*arguments) if one.cls not in _GUARDS]
        return [*kept, Middleware(Everybody)]

    def config(*arguments: Any) -> uvicorn.Config:
        made = config_of(*arguments)
        made.http = HttpToolsProtocol
        return made

    main._middleware = middleware
    serve.uvicorn_config = config
    StrictJsonRoute.get_route_handler = APIRoute.get_route_handler  # type: ignore[method-assign]
    logs.mask = lambda text: text


if __name__ == "__main__":
    from app.__main__ import main as command

    take_out_guards()
    sys.exit(command([]))
