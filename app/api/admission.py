"""Refuses inference that would come too late before its body is read: a refusal must cost next to nothing."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.middleware import TASK_OF_PATH, send_error
from app.engine.interface import Engine
from app.errors import ReparteeError
from app.observation import Observation


class AdmissionMiddleware:
    """Keeps a place in the engine's queue for each request, where even the smallest of its tenant has one.

    The request gives it back when its tokens are counted, and is judged again; at its end it is given back in any case.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; only inference is admitted or not."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in TASK_OF_PATH:
            return await self._app(scope, receive, send)
        observation: Observation = scope["state"]["observation"]
        try:
            observation.place = self._engine.enter(
                TASK_OF_PATH[scope["path"]], scope["state"]["principal"].tenant
            )
        except ReparteeError as error:
            return await send_error(send, error, observation)
        try:
            await self._app(scope, receive, send)
        finally:
            observation.place()
