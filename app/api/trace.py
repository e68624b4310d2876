"""Traces at the edge: FastAPI makes one span of an inference request, and a layer inside it has the others made."""

from collections.abc import MutableMapping
from typing import Any, Protocol

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, TracerProvider
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.middleware import TASK_OF_PATH
from app.observation import Observation


class SpanMaker(Protocol):
    """Who makes the spans below that of a request (`app.tracing.Tracing`, imported only where traces are on)."""

    @property
    def provider(self) -> TracerProvider:
        """What FastAPI makes its span with."""

    def record(self, request: Span, observation: Observation) -> None:
        """Make those of a request that has ended."""


def telemetry(spans: SpanMaker | None) -> TelemetryConfig:
    """What FastAPI is told: a span for each inference request, in the caller's trace where it names one, or none.

    Its metrics and log records stay off: we have our own, and its log records quote the request.
    """
    off: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    if spans is None:
        return off
    on: TelemetryConfig = {
        "tracing": True,
        "tracer_provider": spans.provider,
        "operation_spans": False,
        "exclude": _is_no_inference,
    }
    return off | on


def _is_no_inference(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("method") != "POST" or scope["path"] not in TASK_OF_PATH


class TraceMiddleware:
    """Around all other layers, and there only where traces are on.

    Puts the id of a recorded trace where the observation finds it (`scope["state"]["trace_id"]`), and answers every
    traced request with the header `traceresponse`.
    """

    def __init__(self, app: ASGIApp, spans: SpanMaker) -> None:
        self._app = app
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event; only requests that FastAPI made a span for are traced."""
        span = trace.get_current_span()
        context = span.get_span_context()
        if scope["type"] != "http" or not context.is_valid:
            return await self._app(scope, receive, send)
        state = scope.setdefault("state", {})
        if context.trace_flags.sampled:
            state["trace_id"] = trace.format_trace_id(context.trace_id)

        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["traceresponse"] = traceresponse(context)
            await send(message)

        try:
            await self._app(scope, receive, stamp)
        finally:
            if context.trace_flags.sampled:
                self._spans.record(span, state["observation"])


def traceresponse(context: SpanContext) -> str:
    """The W3C header: version, trace, the span of this request, and whether it is recorded."""
    trace_id, span_id = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return f"00-{trace_id}-{span_id}-{context.trace_flags:02x}"
