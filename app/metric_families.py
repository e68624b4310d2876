"""Every metric name, label and bucket of the service, registered with its known labels at zero."""

from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from app.engine.messages import FinishReason
from app.observation import Outcome, Task

LATENCY_BUCKETS = (
    *(0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 1.5, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
FAST_BUCKETS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 20.0, 40.0),
)
TOKEN_GAP_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5),
)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
TOKEN_COUNT_BUCKETS = (1, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384)

TTFT_SLO_SECONDS = 0.5
DECISION_SLO_SECONDS = 0.15
INTER_TOKEN_SLO_SECONDS = 0.1

TASKS: tuple[Task, ...] = get_args(Task)
GENERATING_TASKS: tuple[Task, ...] = ("chat", "completion")
STAGES: dict[Task, tuple[str, ...]] = {
    "chat": ("tokenize", "queue", "prefill", "decode", "detokenize"),
    "completion": ("tokenize", "queue", "prefill", "decode", "detokenize"),
    "decision": ("tokenize", "queue", "prefill"),
}
SLOS: dict[Task, tuple[str, ...]] = {
    "chat": ("availability", "ttft", "itl"),
    "completion": ("availability", "ttft", "itl"),
    "decision": ("availability", "e2e"),
}
PHASES = ("decode", "prefill", "classify")
LOAD_PHASES = ("import", "load", "cache", "warmup")
REJECTIONS = (
    *("queue_full", "rate_limited", "too_large", "invalid", "unauthorized"),
    *("draining", "not_ready"),
)
SERVER_REJECTIONS = frozenset({"queue_full", "draining", "not_ready"})
"""Refusals for the service's own state: they count against availability, the client's mistakes do not."""
ERROR_TYPES = ("engine", "timeout", "internal")
CANCEL_STAGES = ("queued", "prefill", "decode")
FINISHES = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.DEADLINE: "deadline",
    FinishReason.ABORTED: "cancelled",
    FinishReason.EXPIRED: "expired",
    FinishReason.FAILED: "error",
}
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})

disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricFamilies:
    """The metric families of one served model, for `Metrics` to observe.

    Children are looked up once, here; observing costs about a microsecond. Known label values start at 0, so
    that a rate sees the first event. Durations are seconds, amounts are tokens or requests.

    Args:
        model: the served name, the value of every `model` label.
        registry: where to register; a fresh one by default, so that two services may live in one process.
    """

    def __init__(self, model: str, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._model = model
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._define_requests()
        self._define_counters()
        self._define_engine()
        self._define_state()

    def _define_requests(self) -> None:
        # No label for the outcome: a histogram for each would be a third of all series.
        duration = self._histogram(
            "request_duration_seconds",
            "First byte in to last byte out of requests that were answered whole.",
            ["task", "stream"],
            LATENCY_BUCKETS,
        )
        self._duration = {
            (task, stream): duration.labels(self._model, task, str(stream).lower())
            for task in TASKS
            for stream in ((False, True) if task in GENERATING_TASKS else (False,))
        }
        ttft = self._histogram(
            "time_to_first_token_seconds",
            "Arrival to first token, queueing included.",
            ["stream"],
            LATENCY_BUCKETS,
        )
        self._ttft = {stream: ttft.labels(self._model, str(stream).lower()) for stream in (False, True)}
        self._tpot = self._histogram(
            "time_per_output_token_seconds",
            "Mean gap between the tokens of one request (of its slowest sequence).",
            [],
            TOKEN_GAP_BUCKETS,
        ).labels(self._model)
        stage = self._histogram(
            "stage_duration_seconds", "Time of one request in one stage.", ["task", "stage"], FAST_BUCKETS
        )
        self._stage = {
            (task, name): stage.labels(self._model, task, name)
            for task, names in STAGES.items()
            for name in names
        }
        prompt = self._histogram(
            "request_prompt_tokens", "Prompt tokens of one request.", ["task"], TOKEN_COUNT_BUCKETS
        )
        generated = self._histogram(
            "request_generated_tokens", "Generated tokens of one request.", ["task"], TOKEN_COUNT_BUCKETS
        )
        self._request_prompt = {task: prompt.labels(self._model, task) for task in TASKS}
        self._request_generated = {task: generated.labels(self._model, task) for task in GENERATING_TASKS}

    def _define_counters(self) -> None:
        requests = self._counter("requests", "Requests by how they ended.", ["task", "outcome"])
        self._requests = {
            (task, outcome): requests.labels(self._model, task, outcome)
            for task in TASKS
            for outcome in get_args(Outcome)
        }
        rejections = Counter(
            "repartee_request_rejections", "Requests refused.", ["task", "reason"], registry=self.registry
        )
        self._rejections = {
            (task, reason): rejections.labels(task, reason) for task in TASKS for reason in REJECTIONS
        }
        cancellations = self._counter(
            "request_cancellations",
            "Requests whose client went away, by the stage reached.",
            ["task", "stage"],
        )
        self._cancellations = {
            (task, stage): cancellations.labels(self._model, task, stage)
            for task in TASKS
            for stage in CANCEL_STAGES
        }
        errors = self._counter("request_errors", "Accepted requests that failed.", ["task", "type"])
        self._errors = {
            (task, kind): errors.labels(self._model, task, kind) for task in TASKS for kind in ERROR_TYPES
        }
        finishes = self._counter("finish", "Sequences by finish reason.", ["task", "reason"])
        self._finishes = {
            (task, reason): finishes.labels(self._model, task, name)
            for task in TASKS
            for reason, name in FINISHES.items()
        }
        slo_events = self._counter("slo_events", "Requests that an objective applies to.", ["task", "slo"])
        slo_good = self._counter("slo_good", "Requests that met an objective.", ["task", "slo"])
        pairs = [(task, slo) for task, slos in SLOS.items() for slo in slos]
        self._slo = {
            pair: (slo_events.labels(self._model, *pair), slo_good.labels(self._model, *pair))
            for pair in pairs
        }
        self._prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of all requests.").labels(
            self._model
        )
        self._cached_tokens = self._counter(
            "prompt_cached_tokens", "Prompt tokens that the prefix cache served."
        ).labels(self._model)
        self._generated_tokens = self._counter("generated_tokens", "Tokens generated.").labels(self._model)
        self._preemptions = self._counter("preemptions", "Sequences preempted for lack of blocks.").labels(
            self._model
        )
        self._drafted_tokens = self._counter(
            "spec_drafted_tokens", "Tokens computed because they were foretold."
        ).labels(self._model)
        self._accepted_tokens = self._counter(
            "spec_accepted_tokens", "Foretold tokens that the model chose."
        ).labels(self._model)
        self._restarts = self._counter(
            "engine_restarts", "Starts of a new engine process after the first."
        ).labels(self._model)
        self._http = Counter(
            "repartee_http_requests",
            "HTTP requests by route template and status class.",
            ["route", "method", "status"],
            registry=self.registry,
        )

    def _define_engine(self) -> None:
        self._inter_token = self._histogram(
            "inter_token_seconds", "Gap between two tokens of one sequence.", [], TOKEN_GAP_BUCKETS
        ).labels(self._model)
        step = self._histogram(
            "model_step_seconds",
            "Forward pass and sampling of one step or burst.",
            ["phase"],
            FAST_BUCKETS,
        )
        size = self._histogram("batch_size", "Sequences in one step.", ["phase"], BATCH_SIZE_BUCKETS)
        tokens = self._histogram(
            "batch_tokens",
            "Tokens of one step or burst.",
            ["phase"],
            TOKEN_COUNT_BUCKETS,
        )
        self._step = {
            phase: tuple(family.labels(self._model, phase) for family in (step, size, tokens))
            for phase in PHASES
        }
        self._queue = self._gauge("queue_requests", "Sequences waiting.")
        self._running = self._gauge("running_requests", "Sequences running.")
        self._oldest = self._gauge("queue_oldest_seconds", "Age of the oldest waiting sequence.")
        self._queue_limit = self._gauge("queue_limit_requests", "Most sequences that may wait.")
        self._kv_usage = self._gauge(
            "kv_cache_usage_ratio", "Share of the KV blocks held by sequences, 0 to 1."
        )
        self._kv_capacity = self._gauge("kv_cache_capacity_tokens", "Tokens that the KV cache can hold.")
        self._weights = self._gauge("model_weight_bytes", "Bytes of weights on the device.")
        self._num_blocks = 0

    def _define_state(self) -> None:
        self._ready = Gauge("repartee_ready", "1 while the service can serve.", registry=self.registry)
        self._draining = Gauge("repartee_draining", "1 while the service shuts down.", registry=self.registry)
        load = Gauge(
            "repartee_model_load_seconds",
            "Time of each loading phase.",
            ["model", "phase"],
            registry=self.registry,
        )
        self._load = {phase: load.labels(self._model, phase) for phase in LOAD_PHASES}
        self._loop_lag = Histogram(
            "repartee_event_loop_lag_seconds",
            "Oversleep of the event loop: high values mean a blocked loop, not a slow model.",
            buckets=FAST_BUCKETS,
            registry=self.registry,
        )
        self._build = Gauge(
            "repartee_build_info",
            "Always 1; the labels say what runs.",
            ["version", "python", "torch", "model", "backend", "dtype", "quantization", "kernels"],
            registry=self.registry,
        )
        self._cache = Gauge(
            "repartee_cache_config_info",
            "Always 1; the labels say how the KV cache is laid out.",
            ["block_size", "num_blocks", "dtype"],
            registry=self.registry,
        )

    def _histogram(self, name: str, text: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"repartee_{name}", text, ["model", *labels], buckets=buckets, registry=self.registry
        )

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"repartee_{name}", text, ["model", *(labels or [])], registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"repartee_{name}", text, ["model"], registry=self.registry).labels(self._model)
