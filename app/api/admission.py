"""Refuses inference that would come too late before its body is read: a refusal must cost next to nothing."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.middleware import TASK_OF_PATH, send_error
from app.engine.admission import Work
from app.engine.interface import Engine
from app.errors import ReparteeError


class AdmissionMiddleware:
    """Asks the engine whether even the smallest request of this tenant would be refused now.

    What passes is judged again when its tokens are counted.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; only inference is admitted or not."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in TASK_OF_PATH:
            tenant = scope["state"]["principal"].tenant
            try:
                self._engine.admit(Work(TASK_OF_PATH[scope["path"]], tenant))
            except ReparteeError as error:
                return await send_error(send, error, scope["state"]["observation"])
        await self._app(scope, receive, send)
