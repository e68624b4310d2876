"""Admits requests by API key, before their body is read: who, what for, and how much."""

from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.live_keys import LiveKeys
from app.api.middleware import send_error
from app.api.quotas import Quota
from app.errors import AuthenticationFailed, PermissionDenied, ReparteeError
from app.keys import KeyEntry, KeyRing
from app.keys import Scope as KeyScope
from app.observation import Observation

OPEN_PATHS = frozenset({"/livez", "/readyz", "/startupz", "/health"})
SCOPE_OF_PATH: dict[str, KeyScope] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "chat",
    "/tokenize": "chat",
    "/detokenize": "chat",
    "/v1/decisions": "decide",
    "/v1/systemone": "decide",
    "/v1/classify": "decide",
    "/metrics": "metrics",
    "/metrics/replicas": "metrics",  # deploy/ray
}
"""Paths that need a scope; every other path needs only some key."""


def without_key(*, metrics: bool) -> frozenset[str]:
    """Paths that answer everybody, `/metrics` among them or not."""
    return OPEN_PATHS | {"/metrics"} if metrics else OPEN_PATHS


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: in `scope["state"]["principal"]`. Both are empty where the server has no keys."""

    tenant: str = ""
    key_id: str = ""


class AuthMiddleware:
    """Denies by default: with keys configured, only the health paths answer without one.

    The decision is on `scope["path"]`, which is what the router matches, and needs no byte of the body.

    Args:
        keys: the keys in force; None admits everyone (the service then listens on loopback only).
        metrics_without_key: whether `/metrics` answers as the health paths do.
    """

    def __init__(self, app: ASGIApp, keys: LiveKeys | None, *, metrics_without_key: bool = False) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = without_key(metrics=metrics_without_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; there are no websockets here, so none is admitted."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope["state"]["principal"] = Principal()
        if self._keys is None or scope["path"] in self._open_paths:
            return await self._app(scope, receive, send)
        observation: Observation = scope["state"]["observation"]
        try:
            entry = authenticate(self._keys.ring, scope)
            observation.tenant, observation.key_id = entry.tenant, entry.id
            check_scope(entry, scope["path"])
        except ReparteeError as error:
            return await send_error(send, error, observation)
        scope["state"]["principal"] = Principal(entry.tenant, entry.id)
        await self._serve(self._keys.quota(entry), scope, receive, send)

    async def _serve(self, quota: Quota, scope: Scope, receive: Receive, send: Send) -> None:
        observation: Observation = scope["state"]["observation"]
        try:
            quota.admit()
        except ReparteeError as error:
            return await send_error(send, error, observation, quota.headers())

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(quota.headers())
            await send(message)

        try:
            await self._app(scope, receive, send_with_limits)
        finally:
            quota.release(observation.prompt_tokens + observation.generated_tokens)


def authenticate(keys: KeyRing, scope: Scope) -> KeyEntry:
    """The entry of the bearer key in the one `Authorization` header.

    Raises:
        AuthenticationFailed: missing, malformed, repeated, unknown or expired, all told alike.
    """
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, key = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
    entry = keys.find(key.strip()) if scheme.lower() == b"bearer" else None
    if entry is None:
        raise AuthenticationFailed
    return entry


def check_scope(entry: KeyEntry, path: str) -> None:
    """Whether a key may use a path.

    Raises:
        PermissionDenied: the path needs a scope that the key lacks.
    """
    needed = SCOPE_OF_PATH.get(path)
    if needed is not None and needed not in entry.scopes:
        raise PermissionDenied
