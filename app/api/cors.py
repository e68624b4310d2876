"""Which browsers may call the API, and what they may read of its answers."""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.middleware import send_error
from app.errors import ForeignPage, PreflightRefused
from app.settings import is_loopback


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


class OwnPagesMiddleware:
    """Refuses what pages of other sites ask, for a service that anybody on this machine may use.

    A site may give its own name the address 127.0.0.1, after its page was loaded. Then the browser takes this service
    for a part of the site, and asks nobody for permission; but what it posts says which site that is.

    Args:
        allowed: origins that may, beside those of this machine.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] == "http" and not self._may_ask(scope):
            return await send_error(send, ForeignPage(), scope["state"]["observation"])
        await self._app(scope, receive, send)

    def _may_ask(self, scope: Scope) -> bool:
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        return "*" in self._allowed or all(origin in self._allowed or is_own(origin) for origin in origins)


def is_own(origin: str) -> bool:
    """Whether an origin is a page that this machine serves, or of an installed program such as an extension.

    `null` is neither: any page can put on that, by a frame that it locks in, and a file that somebody opens has it too,
    or `file://`.
    """
    try:
        url = urlsplit(origin)
        host = url.hostname or ""
    except ValueError:
        return False
    if url.scheme in ("http", "https"):
        return is_loopback(host) or host.endswith(".localhost")
    return url.scheme not in ("", "file")
