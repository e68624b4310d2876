"""Whether anything but the probes answers without a key: every route, in every form that a request can be given.

python -m loadtests.reliability.auth_walk [--write]

The service is started with keys and with a page's origin that browsers may call it from, and ended; about a minute.
"""

import argparse
import datetime
import http.client
import json
import re
import shlex
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import msgspec
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app.api.routes.docs import SCRIPT
from app.api.security import OPEN_PATHS
from app.bench.markdown import table
from app.engine.client import AsyncEngine
from app.keys import new_key
from app.main import create_app
from app.metrics import Metrics
from app.settings import Settings
from loadtests import dated_page
from loadtests.machine import machine
from loadtests.processes import ProcessFailed
from loadtests.ready_service import ready_service
from loadtests.reliability.request_forms import PREFLIGHT, Attempt, Route, attempts

EXIT_LET_IN = 1
EXIT_REFUSED = 2
HEALTHY = tuple(sorted(OPEN_PATHS))
ORIGIN = PREFLIGHT[0][1]
_ANSWER_SECONDS = 10.0
_SHOWN = 20
_NOTE = """\
`401`: refused for want of a key. `no request`: refused as HTTP (400, 414, 431, or the end of the connection) before it
reached the application, whose answers have a request id. `health`: what `{healthy}` say, to
requests for them. `preflight`: what a browser is told before it asks, which reaches no route. `let in`: anything else,
a 404 or 405 behind the guard too."""
Verdict = Literal["401", "no request", "health", "preflight", "let in"]
_IN_GAPS = {"{name}": SCRIPT, "{model:path}": "repartee-support"}
"""What exists in the variable part of a route; a route with another one wants an entry."""
_PREFLIGHT_BODIES = (b"OK", b"cors_not_allowed")
_NOT_HTTP = (0, 400, 414, 431)
_NOT_HTTP_CODES = ("", "malformed_http", "url_too_long", "headers_too_large")


class NotControlled(Exception):
    """The walk proves nothing: with a key the routes do not answer either."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 where the connection ended instead.

    Attributes:
        closes: whether the server ends the connection with it.
    """

    status: int
    body: bytes = b""
    closes: bool = False

    @property
    def code(self) -> str:
        """Of its error body, or an empty string."""
        try:
            return str(json.loads(self.body)["error"]["code"])
        except (ValueError, TypeError, KeyError):
            return ""


@dataclass
class Walk:
    """What was tried.

    Attributes:
        verdicts: how often each kind of attempt ended so.
        let_in: the attempts that a guard should have stopped.
    """

    verdicts: Counter[tuple[str, Verdict]] = field(default_factory=Counter)
    let_in: list[Attempt] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Number of attempts."""
        return self.verdicts.total()


class Connection:
    """One connection that is made anew whenever the service has ended it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes, method: str) -> Answer:
        """Send a request and read its answer.

        Raises:
            OSError: nothing listens, or nothing comes back in time.
        """
        kept = self._socket is not None
        answer = self._once(request, method)
        # A connection that was ended between two requests says nothing about the second.
        return self._once(request, method) if kept and answer.status == 0 else answer

    def _once(self, request: bytes, method: str) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_SECONDS)
        response = http.client.HTTPResponse(self._socket, method=method)
        try:
            self._socket.sendall(request)
            response.begin()
            answer = Answer(response.status, response.read(), response.will_close)
        except (ConnectionError, http.client.BadStatusLine):
            answer = Answer(0)
        if answer.status == 0 or response.will_close:
            self.close()
        return answer

    def close(self) -> None:
        """End it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def routes_of(app: FastAPI) -> list[Route]:
    """Every route of an application, those outside its documentation too, with a name that exists in each gap."""
    found: dict[str, set[str]] = {}
    for route in iter_route_contexts(app.routes):
        path = re.sub(r"\{.*?\}", lambda gap: _IN_GAPS[gap[0]], route.path or "")
        found.setdefault(path, set()).update(route.methods or ())
    return [Route(path, tuple(sorted(methods))) for path, methods in sorted(found.items())]


def verdict(attempt: Attempt, answer: Answer) -> Verdict:
    """What an answer to a request without a key means."""
    if answer.status == 401:
        return "401"
    # An answer to HEAD has no body that tells.
    if (
        answer.status in _NOT_HTTP
        and (answer.code in _NOT_HTTP_CODES or attempt.method == "HEAD")
        and answer.closes
    ):
        return "no request"
    if attempt.path in OPEN_PATHS and _is_health(attempt, answer):
        return "health"
    # The answer to HEAD has no body, but a preflight is OPTIONS alone.
    if (
        attempt.kind == "preflight"
        and attempt.method == "OPTIONS"
        and any(b in answer.body for b in _PREFLIGHT_BODIES)
    ):
        return "preflight"
    return "let in"


def _is_health(attempt: Attempt, answer: Answer) -> bool:
    if answer.status == 405:
        return True
    if answer.status not in (200, 503):
        return False
    if attempt.method == "HEAD":
        return answer.body == b""
    try:
        return list(json.loads(answer.body)) == ["status"]
    except ValueError:
        return False


def walk(port: int, tries: Iterable[Attempt]) -> Walk:
    """Try them one after another at a service on this machine.

    Raises:
        OSError: the service is gone, or hangs.
    """
    found, connection = Walk(), Connection(port)
    try:
        for attempt in tries:
            how = verdict(attempt, connection.ask(attempt.encoded(), attempt.method))
            found.verdicts[attempt.kind, how] += 1
            if how == "let in":
                found.let_in.append(attempt)
    finally:
        connection.close()
    return found


def control(port: int, routes: Sequence[Route], key: str) -> int:
    """How many routes there are that a key opens, which must be all.

    Raises:
        NotControlled: one is refused with the key too, or is not there.
    """
    connection = Connection(port)
    try:
        for route in routes:
            attempt = Attempt("control", route.methods[0], route.path, (("authorization", f"Bearer {key}"),))
            answer = connection.ask(attempt.encoded(), attempt.method)
            if answer.status in (0, 401, 403, 405) or answer.code == "unknown_url":
                raise NotControlled(f"{route.path} answers {answer.status} to a valid key")
    finally:
        connection.close()
    return len(routes)


@contextmanager
def guarded_service() -> Iterator[tuple[int, str]]:
    """The service with keys and an origin; its port and a key that opens all of it.

    Raises:
        ProcessFailed: it does not start.
    """
    key, entry = new_key("walk", scopes=("chat", "decide", "metrics"))
    with TemporaryDirectory(prefix="repartee-walk-") as directory:
        keys = Path(directory) / "keys.json"
        keys.write_bytes(msgspec.json.encode([entry]))
        values = {"API_KEYS_FILE": str(keys), "CORS_ORIGINS": ORIGIN, "THREADS": "1", "LOG_LEVEL": "warning"}
        with ready_service(values) as service:
            yield service.port, key


def routes_of_the_service() -> list[Route]:
    """Those of the application as the service wires it; nothing is started."""
    settings = Settings()
    metrics = Metrics.of(settings)
    engine = AsyncEngine(settings.engine_config(), metrics, max_waiting=settings.max_waiting)
    return routes_of(create_app(settings, engine, metrics))


def render(found: Walk, controlled: int, seconds: float, facts: dict[str, str], command: str) -> str:
    """The dated page."""
    verdicts: tuple[Verdict, ...] = get_args(Verdict)
    kinds = list(dict.fromkeys(kind for kind, _ in found.verdicts))
    rows = [[kind, *_counts(found.verdicts[kind, how] for how in verdicts)] for kind in kinds]
    sums = [sum(found.verdicts[kind, how] for kind in kinds) for how in verdicts]
    outcome = "passed" if not found.let_in else "missed"
    shown = [
        f"- `{attempt.method} {attempt.target!a}` {attempt.headers}" for attempt in found.let_in[:_SHOWN]
    ]
    return "\n".join(
        [
            f"# What answers without a key, {datetime.date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in facts.items()],
            f"\nReproduce: `{command}`\n",
            table(
                ["figure", "measured", "bound", "verdict"],
                [["let in without a key", f"{len(found.let_in):,} of {found.tried:,}", "0", outcome]],
            ),
            f"\n{controlled} routes that a valid key opens, in {seconds:.0f} s:\n",
            table(["what is tried", "attempts", *verdicts], [*rows, ["**all**", *_counts(sums)]]),
            "",
            _NOTE.format(healthy="`, `".join(HEALTHY)),
            *(["\nLet in:\n", *shown] if shown else []),
        ]
    )


def _counts(counts: Iterable[int]) -> list[str]:
    cells = list(counts)
    return [f"{sum(cells):,}", *(f"{cell:,}" for cell in cells)]


def main(arguments: Sequence[str]) -> int:
    """Walk and print; returns 1 where something was let in, 2 where nothing is proved."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.reliability.auth_walk", description=(__doc__ or "").partition("\n")[0]
    )
    dated_page.add_option(parser, "auth")
    options = parser.parse_args(arguments)
    facts, routes = machine(), routes_of_the_service()
    closed = [route for route in routes if route.path not in OPEN_PATHS]
    began = time.monotonic()
    try:
        with guarded_service() as (port, key):
            control(port, closed, key)
            found = walk(port, attempts(closed, HEALTHY, key))
            controlled = control(port, closed, key)
    except (ProcessFailed, NotControlled, OSError) as error:
        print(f"loadtests.reliability.auth_walk: {error}", file=sys.stderr)
        return EXIT_REFUSED
    command = shlex.join(["python", "-m", "loadtests.reliability.auth_walk", *arguments])
    page = render(found, controlled, time.monotonic() - began, facts, command)
    dated_page.publish("auth", page, write=options.write)
    return EXIT_LET_IN if found.let_in else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
