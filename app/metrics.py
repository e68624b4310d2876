"""Metrics: the one class that observes what the service does."""

import platform

from prometheus_client.exposition import choose_encoder

from app import __version__
from app.engine.messages import FinishReason, Ready, StepStats
from app.metric_families import (
    DECISION_SLO_SECONDS,
    GENERATING_TASKS,
    INTER_TOKEN_SLO_SECONDS,
    METHODS,
    SERVER_REJECTIONS,
    STAGES,
    TTFT_SLO_SECONDS,
    MetricFamilies,
)
from app.observation import Observation, Task


class Metrics(MetricFamilies):
    """Observes; called by the engine's output loop and by the HTTP middleware, and nowhere else."""

    def loading(self, phase: str, seconds: float) -> None:
        """A loading phase ended; phases that nobody knows are not recorded."""
        if phase in self._load:
            self._load[phase].set(seconds)

    def ready(self, info: Ready) -> None:
        """The engine told what it found and chose at start."""
        self._num_blocks = info.num_blocks
        self._kv_capacity.set(info.num_blocks * info.block_size)
        self._weights.set(info.memory_bytes)
        self._build.clear()
        self._build.labels(
            __version__,
            platform.python_version(),
            info.torch,
            self._model,
            info.device,
            info.dtype,
            info.quantization,
            info.kernels,
        ).set(1)
        self._cache.clear()
        self._cache.labels(str(info.block_size), str(info.num_blocks), info.cache_dtype).set(1)

    def set_ready(self, ready: bool) -> None:
        """Whether the service can serve."""
        self._ready.set(ready)

    def set_draining(self, draining: bool) -> None:
        """Whether the service shuts down."""
        self._draining.set(draining)

    def set_queue_limit(self, sequences: int) -> None:
        """Most sequences that may wait."""
        self._queue_limit.set(sequences)

    def step(self, stats: StepStats) -> None:
        """One engine step; a step without sequences only refreshes the gauges."""
        if stats.sequences:
            seconds, size, tokens = self._step[stats.phase]
            seconds.observe(stats.forward_seconds)
            size.observe(stats.sequences)
            tokens.observe(stats.tokens)
        if stats.preemptions:
            self._preemptions.inc(stats.preemptions)
        if stats.drafted:
            self._drafted_tokens.inc(stats.drafted)
            self._accepted_tokens.inc(stats.accepted)
        self.gauges(stats.running, stats.waiting, stats.oldest_wait, stats.kv_blocks_used)

    def gauges(self, running: int, waiting: int, oldest_wait: float = 0.0, kv_blocks_used: int = 0) -> None:
        """The engine's load: sequences, seconds, blocks."""
        self._running.set(running)
        self._queue.set(waiting)
        self._oldest.set(oldest_wait)
        self._kv_usage.set(kv_blocks_used / self._num_blocks if self._num_blocks else 0.0)

    def inter_token(self, seconds: float, tokens: int) -> None:
        """`tokens` tokens of one sequence arrived `seconds` after the one before them."""
        for _ in range(tokens):
            self._inter_token.observe(seconds / tokens)

    def sequence_finished(self, task: Task, reason: FinishReason) -> None:
        """One sequence ended."""
        self._finishes[task, reason].inc()

    def idle(self) -> None:
        """The engine holds nothing."""
        self.gauges(0, 0)

    def engine_restarted(self) -> None:
        """A new engine process replaces one that ended, and holds nothing."""
        self._restarts.inc()
        self.idle()

    def rejected(self, task: Task, reason: str) -> None:
        """A request was refused; `reason` is one of `REJECTIONS`."""
        self._rejections[task, reason].inc()
        if reason in SERVER_REJECTIONS:
            self._judge(task, "availability", good=False)

    def http(self, route: str, method: str, status: int) -> None:
        """One HTTP answer; `route` is a template, `status` a number of three digits."""
        self._http.labels(route, method if method in METHODS else "other", f"{status // 100}xx").inc()

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke up so much later than asked."""
        self._loop_lag.observe(seconds)

    def observe_request(self, observation: Observation) -> None:
        """One finished inference request; requests without a task (health, models) are not recorded here."""
        task = observation.task
        if task is None:
            return
        self._requests[task, observation.outcome].inc()
        if observation.outcome == "rejected":
            return
        if observation.outcome == "cancelled":
            self._cancellations[task, _stage_reached(observation)].inc()
        else:
            self._judge(task, "availability", good=observation.outcome == "ok")
        if observation.outcome == "timeout":
            self._errors[task, "timeout"].inc()
            self._judge(task, "ttft" if task in GENERATING_TASKS else "e2e", good=False)
        if observation.outcome == "error":
            engine = observation.error_code in ("sequence_failed", "engine_died")
            self._errors[task, "engine" if engine else "internal"].inc()
        if observation.outcome == "ok":
            self._observe_answer(task, observation)
        self._observe_tokens(task, observation)
        self._observe_stages(task, observation)

    def _observe_answer(self, task: Task, observation: Observation) -> None:
        total = observation.elapsed() if observation.total is None else observation.total
        self._duration[task, observation.stream].observe(total)
        if task not in GENERATING_TASKS:
            self._judge(task, "e2e", good=total <= DECISION_SLO_SECONDS)
            self._request_prompt[task].observe(observation.prompt_tokens)
            return
        self._request_prompt[task].observe(observation.prompt_tokens)
        self._request_generated[task].observe(observation.generated_tokens)
        if observation.first_token is not None:
            self._judge(task, "ttft", good=observation.first_token <= TTFT_SLO_SECONDS)
        if observation.token_gap is not None:
            self._tpot.observe(observation.token_gap)
            self._judge(task, "itl", good=observation.token_gap <= INTER_TOKEN_SLO_SECONDS)

    def _observe_tokens(self, task: Task, observation: Observation) -> None:
        self._prompt_tokens.inc(observation.prompt_tokens)
        self._cached_tokens.inc(observation.cached_tokens)
        self._generated_tokens.inc(observation.generated_tokens)

    def _observe_stages(self, task: Task, observation: Observation) -> None:
        if observation.first_token is not None and task in GENERATING_TASKS:
            self._ttft[observation.stream].observe(observation.first_token)
        for name in STAGES[task]:
            seconds: float | None = getattr(observation, name)
            if seconds is not None:
                self._stage[task, name].observe(seconds)

    def _judge(self, task: Task, slo: str, *, good: bool) -> None:
        events, met = self._slo[task, slo]
        events.inc()
        if good:
            met.inc()

    def render(self, accept: str | None) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that the `Accept` header asks for."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self.registry), content_type


def _stage_reached(observation: Observation) -> str:
    if observation.first_token is not None:
        return "decode"
    return "queued" if observation.queue is None else "prefill"
