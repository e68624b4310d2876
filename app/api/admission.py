"""Refuses inference that would come too late before its body is read: a refusal must cost next to nothing."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.middleware import TASK_OF_PATH, send_error
from app.engine.interface import Engine
from app.errors import ReparteeError
from app.observation import Observation


class AdmissionMiddleware:
    """Asks whether even the smallest request of this tenant would be refused now, or keeps a place for it.

    It stands twice in the chain. Before the body it only asks: a client that sends its body slowly must not hold a
    place that others wait for. Behind the body, which is there by then, it keeps a place until the request's tokens are
    counted and it is judged again, or until its end.

    Args:
        keeps: whether it keeps a place.
    """

    def __init__(self, app: ASGIApp, engine: Engine, *, keeps: bool) -> None:
        self._app = app
        self._engine = engine
        self._keeps = keeps

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
        if not self._keeps:
            observation.place()
        try:
            await self._app(scope, receive, send)
        finally:
            observation.place()
