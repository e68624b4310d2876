"""The walk without a key: the real application lets nothing in, and every careless guard is found."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.security import OPEN_PATHS, AuthMiddleware
from app.keys import new_key
from app.metrics import Metrics
from app.server import uvicorn_config
from app.settings import Settings
from loadtests.reliability.auth_walk import (
    HEALTHY,
    ORIGIN,
    NotControlled,
    Walk,
    control,
    render,
    routes_of,
    walk,
)
from loadtests.reliability.request_forms import Attempt, Route, attempts
from tests.api.conftest import build_app
from tests.fakes import FakeEngine

KEY, ENTRY = new_key("walk", scopes=("chat", "decide", "metrics"))
SAMPLE = 5000


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    """The application behind the service's own HTTP protocol; its port."""
    server = uvicorn.Server(uvicorn_config(app, Settings(port=0), Metrics("toy")))
    started = threading.Event()

    async def serve() -> None:
        task = asyncio.create_task(server._serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        started.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(20) and server.started
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(msgspec.json.encode([ENTRY]))
    return path


def test_nothing_is_let_in_without_a_key(keys_file: Path) -> None:
    app = build_app(FakeEngine(), api_keys_file=keys_file, cors_origins=[ORIGIN])
    closed = [route for route in routes_of(app) if route.path not in OPEN_PATHS]
    paths = {route.path for route in closed}
    assert {"/docs", "/openapi.json", "/metrics", "/v1/models/repartee-support"} <= paths and len(
        closed
    ) >= 14
    everything = list(attempts(closed, HEALTHY, KEY))
    tries = random.Random(0).sample(everything, SAMPLE)
    tries += [one for one in everything if one.kind in ("as it is", "preflight", "no path")]
    with serving(app) as port:
        assert control(port, closed, KEY) == len(closed)
        found = walk(port, tries)
    assert found.let_in == [] and found.tried == len(tries)
    assert {kind for kind, _ in found.verdicts} == {attempt.kind for attempt in everything}
    assert all(
        how in {how for _, how in found.verdicts} for how in ("401", "no request", "health", "preflight")
    )


def test_the_walk_proves_nothing_where_a_key_opens_nothing(keys_file: Path) -> None:
    app = build_app(FakeEngine(), api_keys_file=keys_file)
    with serving(app) as port, pytest.raises(NotControlled, match="/version answers 401"):
        control(port, [Route("/version", ("GET",))], "rp-wrong")
    with serving(app) as port, pytest.raises(NotControlled, match="/nowhere answers 404"):
        control(port, [Route("/nowhere", ("GET",))], KEY)


CARELESS: dict[str, tuple[str, Callable[[Scope], bool]]] = {
    "by prefix": ("with a health path", lambda scope: scope["path"].startswith(HEALTHY)),
    "by suffix": ("with a health path", lambda scope: scope["path"].endswith(HEALTHY)),
    "by the URL": ("query", lambda scope: str(Request(scope).url).endswith("/livez")),
    "whatever the case": ("nearly a health path", lambda scope: scope["path"].lower() in OPEN_PATHS),
    "without slashes": ("nearly a health path", lambda scope: scope["path"].rstrip("/") in OPEN_PATHS),
    "decoded once more": ("nearly a health path", lambda scope: unquote(scope["path"]) in OPEN_PATHS),
    "OPTIONS is free": ("as it is", lambda scope: scope["method"] == "OPTIONS"),
    "a header's path": ("path in a header", lambda scope: header(scope, b"x-original-url") in OPEN_PATHS),
    "from this machine": ("address in a header", lambda scope: header(scope, b"x-real-ip") == "127.0.0.1"),
    "the key anywhere": ("key in another header", lambda scope: KEY in str(scope["headers"])),
    "the key in the query": ("key in the query", lambda scope: KEY.encode() in scope["query_string"]),
    "one of two keys": ("two authorizations", lambda scope: f"Bearer {KEY}" in str(scope["headers"])),
}


def header(scope: Scope, name: bytes) -> str:
    return dict(scope["headers"]).get(name, b"").decode("latin-1")


@pytest.mark.parametrize("guard", CARELESS)
def test_a_careless_guard_is_found(guard: str, keys_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, lets_in = CARELESS[guard]
    careful = AuthMiddleware.__call__

    async def careless(self: AuthMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and lets_in(scope):
            return await self._app(scope, receive, send)
        return await careful(self, scope, receive, send)

    monkeypatch.setattr(AuthMiddleware, "__call__", careless)
    route = Route("/version", ("GET",))
    tries = [a for a in attempts([route], HEALTHY, KEY) if a.kind == kind and a.method in ("GET", "OPTIONS")]
    with serving(build_app(FakeEngine(), api_keys_file=keys_file)) as port:
        found = walk(port, tries)
    assert found.let_in


def test_the_page_says_what_was_let_in() -> None:
    found = Walk()
    found.verdicts["case", "401"] += 7
    page = render(found, 14, 3.0, {"cores": "2"}, "python -m loadtests.reliability.auth_walk")
    assert "| let in without a key | 0 of 7 | 0 | passed |" in page and "Let in:" not in page
    found.verdicts["case", "let in"] += 1
    found.let_in.append(Attempt("case", "GET", "/VERSION"))
    page = render(found, 14, 3.0, {"cores": "2"}, "python -m loadtests.reliability.auth_walk")
    assert "| let in without a key | 1 of 8 | 0 | missed |" in page and "- `GET '/VERSION'`" in page
    assert "| case | 8 | 7 | 0 | 0 | 0 | 1 |" in page


def test_a_path_is_what_a_router_would_match() -> None:
    paths = {
        "http://x/livez?a": "/livez",
        "/livez#/docs": "/livez",
        "/%6civez": "/livez",
        "/livez;x": "/livez;x",
    }
    assert {target: Attempt("", "GET", target).path for target in paths} == paths
