"""One `x-request-id` an answer: Ray Serve's HTTP server makes ids too, and puts its own behind the application's."""

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAME = "x-request-id"


class OneRequestId:
    """Keeps the application's `x-request-id`, which the logs and error bodies say too.

    A request without one gets an empty one, which is none for the application; else Ray Serve would make one up, and
    the application would take it for the client's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        MutableHeaders(scope=scope).setdefault(_NAME, "")

        async def send_with_one(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if _NAME in headers:
                    headers[_NAME] = headers[_NAME]  # the first is kept, all others are removed
            await send(message)

        await self._app(scope, receive, send_with_one)


def middlewares() -> list[Middleware]:
    """What `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names: Ray Serve puts these around everything else."""
    return [Middleware(OneRequestId)]
