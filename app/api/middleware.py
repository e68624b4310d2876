"""Pure ASGI around every request: its id, its observation, its HTTP metrics and its one access line."""

import logging
import random
import re
import secrets
import time
import traceback
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.error_handlers import observed_code, render_error
from app.errors import EngineFailure, ReparteeError
from app.logs import request_id
from app.metrics import Metrics
from app.observation import Observation, Outcome, Task

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("app.access")

PROBES = frozenset({"/livez", "/readyz", "/startupz", "/health", "/metrics"})  # asked every second or so
CLIENT_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TASK_OF_PATH: dict[str, Task] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completion",
    "/v1/decisions": "decision",
    "/v1/systemone": "decision",
    "/v1/classify": "decision",
}
METHODS_OF_PATH: dict[str, frozenset[str]] = {
    **dict.fromkeys((*TASK_OF_PATH, "/tokenize", "/detokenize"), frozenset({"POST"})),
    **dict.fromkeys(("/metrics", "/v1/models", "/version", "/docs", "/openapi.json"), frozenset({"GET"})),
    **dict.fromkeys(PROBES - {"/metrics"}, frozenset({"GET", "HEAD"})),
}
"""Every route without a variable part: these paths are safe as labels though the router never saw the request."""
CLIENT_CLOSED_REQUEST = 499
_ids = random.Random(secrets.randbits(128))
"""Ids are to be unique and no secret: the system's own generator is a system call for each, and lets other threads have
the interpreter meanwhile."""


class RequestContextMiddleware:
    """The outermost layer: what passes through it is counted, timed and logged exactly once.

    It stamps `x-request-id`, echoes a well-formed one of the client's as `x-client-request-id`, keeps an
    `Observation` in `scope["state"]["observation"]`, and turns what nobody else caught into a plain 500.

    Args:
        model: name of the model that is served, for the line of an inference request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, model: str) -> None:
        self._app = app
        self._metrics = metrics
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; only HTTP requests are observed."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = _Exchange(scope, receive, send)
        token = request_id.set(exchange.observation.request_id)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            await exchange.rescue(error)
        except BaseException:
            exchange.gone = True
            raise
        finally:
            self._record(scope, exchange)
            request_id.reset(token)

    def _record(self, scope: Scope, exchange: "_Exchange") -> None:
        observation = exchange.conclude()
        route = route_of(scope)
        self._metrics.http(route, scope["method"], exchange.status)
        if observation.task is not None:
            if observation.outcome == "rejected":
                self._metrics.rejected(
                    observation.task, rejection_reason(exchange.status, observation.error_code)
                )
            self._metrics.observe_request(observation)
        quiet = route in PROBES and exchange.status not in (401, 403, 429)
        level = logging.DEBUG if quiet else logging.INFO
        if access_logger.isEnabledFor(level):
            fields = access_fields(route, scope["method"], self._model, exchange)
            access_logger.log(level, "request", extra={"fields": fields})


class _Exchange:
    """One request and its response, as they pass by."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Preflights and wrong methods ask for no inference, whatever their path.
        task = TASK_OF_PATH.get(scope["path"]) if scope["method"] == "POST" else None
        state = scope.setdefault("state", {})
        self.observation = Observation(new_request_id(), task=task, trace_id=state.get("trace_id"))
        state["observation"] = self.observation
        client_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self.client_id = client_id.decode() if CLIENT_ID.fullmatch(client_id) else None
        self.status = 500
        self.started = self.complete = self.gone = False
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        """Pass a message of the client on, and notice that it left."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.complete:
            self.gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message to the client on, the first with our headers."""
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            message["headers"] = [*message["headers"], *self._own_headers()]
        began = time.perf_counter()
        try:
            await self._send(message)
        except OSError:
            self.gone = True
            raise
        finally:
            observation = self.observation
            observation.write = (observation.write or 0.0) + time.perf_counter() - began
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True

    def _own_headers(self) -> Iterator[tuple[bytes, bytes]]:
        yield b"x-request-id", self.observation.request_id.encode()
        if self.client_id:
            yield b"x-client-request-id", self.client_id.encode()
        if self.observation.task is not None:
            yield b"openai-processing-ms", b"%d" % round(self.observation.elapsed() * 1000)
        if timing := server_timing(self.observation):
            yield b"server-timing", timing.encode()

    async def rescue(self, error: Exception) -> None:
        """Answer 500 where nothing was sent yet; otherwise the server cuts the connection.

        The log gets where it happened and not the message, which may quote the request.
        """
        if isinstance(error, OSError) and self.gone:
            return
        self.observation.outcome = "error"
        frames = "".join(traceback.format_tb(error.__traceback__))
        logger.error("unhandled error", extra={"fields": {"type": type(error).__name__, "frames": frames}})
        if not self.started:
            failure = EngineFailure("The server failed on this request.")
            await send_error(self.send, failure, self.observation)

    def conclude(self) -> Observation:
        """The observation with its end: total seconds and outcome."""
        observation = self.observation
        observation.total = observation.elapsed()
        if self.gone and not self.complete:
            observation.outcome = "cancelled"
        elif observation.outcome == "ok":
            observation.outcome = outcome_of(self.status)
            if self.status == 503 and observation.generated_tokens:
                observation.outcome = "error"  # it was let in, and cut at the end of a drain
        if observation.outcome == "cancelled":
            self.status = CLIENT_CLOSED_REQUEST
        return observation


def new_request_id() -> str:
    """An id of the server's own, in its headers, logs and messages about our faults."""
    return f"req_{_ids.getrandbits(128):032x}"


def route_of(scope: Scope) -> str:
    """The route's template; of a request that was refused before the router ran, its path where it is fixed.

    Without a route that takes the method it is `unmatched`: strangers must not multiply series by trying methods.
    """
    if (route := scope.get("route")) is not None:
        path, methods = str(route.path), route.methods or frozenset()
    else:
        path = scope["path"]
        methods = METHODS_OF_PATH.get(path, frozenset())
    return path if scope["method"] in methods else "unmatched"


async def send_error(
    send: Send, error: ReparteeError, observation: Observation, extra: dict[str, str] | None = None
) -> None:
    """Answer with an error from outside the application: the same body and headers as from inside."""
    observation.error_code = observed_code(error)
    status, headers, body = render_error(error, observation.request_id)
    fields = {**headers, **(extra or {}), "content-length": str(len(body))}
    raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def log_refused_head(identifier: str, status: int, error: ReparteeError) -> None:
    """The audit line of what never became a request: its head was refused, and nothing in it can be relied on."""
    fields = {
        "request_id": identifier,
        "route": "unmatched",
        "method": "other",
        "status": status,
        "outcome": outcome_of(status),
        "error_code": observed_code(error),
    }
    access_logger.info("request", extra={"fields": fields})


def outcome_of(status: int) -> Outcome:
    """How a request ended, from the status that the client saw."""
    if status == CLIENT_CLOSED_REQUEST:
        return "cancelled"
    if status == 504:
        return "timeout"
    if status == 503 or 400 <= status < 500:
        return "rejected"
    return "error" if status >= 500 else "ok"


def rejection_reason(status: int, code: str | None) -> str:
    """Why a request was refused, as a label of the rejections counter."""
    if status == 503:
        return {"server_is_overloaded": "queue_full", "shutting_down": "draining"}.get(
            code or "", "not_ready"
        )
    by_status = {401: "unauthorized", 403: "unauthorized", 413: "too_large", 429: "rate_limited"}
    return by_status.get(status, "invalid")


def server_timing(observation: Observation) -> str:
    """The stages known so far as a `Server-Timing` value in milliseconds; empty when there are none."""
    stages = {
        "tokenize": observation.tokenize,
        "queue": observation.queue,
        "prefill": observation.prefill,
        "decode": observation.decode,
    }
    known = ((name, seconds) for name, seconds in stages.items() if seconds is not None)
    return ", ".join(f"{name};dur={round(seconds * 1000, 3)}" for name, seconds in known)


def access_fields(route: str, method: str, model: str, exchange: _Exchange) -> dict[str, object]:
    """One audit line: ids, route, status, amounts and milliseconds; nothing that a client wrote.

    A request that was refused before a queue, or a first token, has no milliseconds of those.
    """
    observation = exchange.observation
    fields: dict[str, object] = {
        "client_request_id": exchange.client_id,
        "trace_id": observation.trace_id,
        "route": route,
        "method": method if method.isalpha() and len(method) <= 16 else "other",
        "status": exchange.status,
        "outcome": observation.outcome,
        "error_code": observation.error_code,
        "tenant": observation.tenant,
        "key_id": observation.key_id,
    }
    if observation.task is not None:
        fields |= {
            "task": observation.task,
            "model": model,
            "stream": observation.stream,
            "finish_reason": observation.finish_reason,
            "prompt_tokens": observation.prompt_tokens,
            "cached_tokens": observation.cached_tokens,
            "generated_tokens": observation.generated_tokens,
        }
    if observation.policy:
        fields["policy"] = observation.policy
    return fields | observation.timings()
