"""Which browsers may call the API, and what they may read of its answers."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.middleware import send_error
from app.errors import PreflightRefused


class CrossOriginMiddleware(CORSMiddleware):
    """Starlette's, whose refusals are plain text: here they have the shape of every other error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; preflights go no further than this."""
        try:
            await super().__call__(scope, receive, send)
        except PreflightRefused as error:
            await send_error(send, error, scope["state"]["observation"])

    def preflight_response(self, request_headers: Headers) -> Response:
        """The permission that a browser asks for.

        Raises:
            PreflightRefused: the origin or the method may not.
        """
        response = super().preflight_response(request_headers)
        if response.status_code != 200:
            raise PreflightRefused
        return response
