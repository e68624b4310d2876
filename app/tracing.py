"""Traces: the spans of a request, made at its end and sent to a collector by a thread of their own.

Imported only where traces are on: the SDK and its exporter take memory.
"""

import logging
import threading
import time
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as RecordedSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, StatusCode
from opentelemetry.util.types import AttributeValue

from app import __version__
from app.observation import Observation, Task
from app.settings import Settings

logger = logging.getLogger(__name__)

QUEUE_SPANS = 2048
"""Spans that wait for the collector; beyond it the oldest are dropped."""
BATCH_SPANS = 128
"""Spans of one message: encoding them holds the interpreter, so a message must not be long."""
SEND_SECONDS = 1.0
"""How often spans are sent."""
COLLECTOR_SECONDS = 5.0
"""How long the collector may take for one message, retries included."""
CLOSE_SECONDS = 1.0
"""How long the end of the process waits for what is not sent yet."""

_OPERATIONS: dict[Task, str] = {"chat": "chat", "completion": "text_completion", "decision": "decision"}
"""`gen_ai.operation.name`; OpenTelemetry has no name for decisions."""


class Tracing:
    """Makes spans of requests and hands them to a processor.

    Args:
        model: the served name.
        processor: takes the ended spans; it must not wait for anybody.
        ratio: share of the traces that begin here which are recorded; one that a caller began is recorded if the
            caller records it.
    """

    def __init__(self, model: str, processor: SpanProcessor, ratio: float = 1.0) -> None:
        resource = Resource.create({"service.name": "repartee", "service.version": __version__})
        sampler = ParentBased(TraceIdRatioBased(ratio))
        self.provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        self.provider.add_span_processor(_Discretion())
        self.provider.add_span_processor(processor)
        self._tracer = self.provider.get_tracer("repartee", __version__)
        self._model = model

    @classmethod
    def to_collector(cls, settings: Settings) -> "Tracing":
        """Traces that go to the collector of the settings.

        Raises:
            ImportError, RuntimeError, ValueError: an `OTEL_*` variable is wrong.
        """
        exporter = _TellingExporter(settings.traces_endpoint)
        # From here on the SDK logs nothing but that spans were not sent, again and again; the exporter says it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        processor = BatchSpanProcessor(exporter, QUEUE_SPANS, SEND_SECONDS * 1000, BATCH_SPANS)
        return cls(settings.served_name, processor, settings.traces_sample_ratio)

    def record(self, request: Span, observation: Observation) -> None:
        """Make the spans of a request that has ended, below the one that FastAPI made.

        Queue, prefill and decode are laid end to end behind the tokenizing: their durations are measured, and between
        them lies next to nothing.
        """
        if observation.task is None:
            return
        operation = _OPERATIONS[observation.task]
        ended = time.time_ns()
        arrived = ended - _nanoseconds(observation.elapsed())
        model: dict[str, AttributeValue] = {
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": self._model,
        }
        span = self._tracer.start_span(
            f"{operation} {self._model}",
            trace.set_span_in_context(request),
            attributes=model | _attributes(self._model, observation),
            start_time=arrived,
        )
        if observation.outcome != "ok":
            span.set_attribute("error.type", observation.error_code or observation.outcome)
            span.set_status(StatusCode.ERROR)
        context = trace.set_span_in_context(span)
        start = arrived + _nanoseconds((observation.parse or 0.0) + (observation.tokenize or 0.0))
        for name, seconds, attributes in _stages(observation):
            if seconds:
                end = start + _nanoseconds(seconds)
                stage = self._tracer.start_span(
                    name, context, attributes=model | attributes, start_time=start
                )
                stage.end(end)
                start = end
        span.end(ended)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what is left, for at most so long: a collector that hangs must not keep the process."""
        ending = threading.Thread(target=self.provider.shutdown, name="end of traces", daemon=True)
        ending.start()
        ending.join(seconds)


def _stages(observation: Observation) -> list[tuple[str, float | None, dict[str, AttributeValue]]]:
    """Name, seconds and attributes of each stage, in order."""
    prompt: dict[str, AttributeValue] = {
        "gen_ai.usage.input_tokens": observation.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": observation.cached_tokens,
    }
    return [
        ("queue", observation.queue, {}),
        ("prefill", observation.prefill, prompt),
        ("decode", observation.decode, {"gen_ai.usage.output_tokens": observation.generated_tokens}),
    ]


def _attributes(model: str, observation: Observation) -> dict[str, AttributeValue]:
    """What OpenTelemetry's conventions for generative AI want to know; nothing that a client wrote."""
    attributes: dict[str, AttributeValue] = {
        "gen_ai.provider.name": "repartee",
        "gen_ai.response.model": model,
        "gen_ai.request.stream": observation.stream,
        "gen_ai.usage.input_tokens": observation.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": observation.cached_tokens,
        "gen_ai.usage.output_tokens": observation.generated_tokens,
        "repartee.request_id": observation.request_id,
        "repartee.outcome": observation.outcome,
    }
    if observation.finish_reason is not None:
        attributes["gen_ai.response.finish_reasons"] = [observation.finish_reason]
    if observation.first_token is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = observation.first_token
    if observation.policy:
        attributes["repartee.policy"] = observation.policy
    if observation.tenant is not None:
        attributes["repartee.tenant"] = observation.tenant
    return attributes


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


class _Discretion(SpanProcessor):
    """Keeps a query string, which no route of ours reads and a client may fill with anything, out of the spans."""

    def on_start(self, span: RecordedSpan, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")


class _TellingExporter(SpanExporter):
    """Sends spans to a collector; says once that it cannot, and once that it can again."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._failing = False
        self._exporter = OTLPSpanExporter(
            endpoint, timeout=COLLECTOR_SECONDS, compression=Compression.NoCompression
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; called by the processor's thread."""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            logger.warning("traces cannot be sent to %s; spans are dropped until they can", self._endpoint)
        if self._failing and not failing:
            logger.info("traces are sent to %s again", self._endpoint)
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Send nothing any more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
