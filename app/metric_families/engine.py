"""What the engine does: steps, batches, queue, cache, memory, speculation."""

from itertools import product

from app.engine.messages import FinishReason, Ready, StepStats
from app.metric_families.registry import Registry
from app.metric_families.requests import TASKS
from app.observation import Task

PHASES = ("decode", "prefill", "classify")
LOAD_PHASES = ("import", "kernels", "load", "cache", "warmup")
FINISHES = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.DEADLINE: "deadline",
    FinishReason.ABORTED: "cancelled",
    FinishReason.EXPIRED: "expired",
    FinishReason.FAILED: "error",
}
MEMORY_KINDS = ("allocated", "reserved", "peak")


class EngineFamilies:
    """The engine, as its output loop tells of it."""

    def __init__(self, registry: Registry) -> None:
        self._inter_token = registry.weighted_histogram(
            "inter_token_seconds",
            "Gap between two tokens of one sequence; k tokens that arrive together after S seconds are k gaps of S/k.",
        )
        self._forward = registry.histograms(
            "model_step_seconds",
            "Packing the batch, forward pass and sampling of one step or burst.",
            ("phase",),
            PHASES,
        )
        self._sequences = registry.histograms("batch_size", "Sequences in one step.", ("phase",), PHASES)
        self._tokens = registry.histograms("batch_tokens", "Tokens of one step or burst.", ("phase",), PHASES)
        self._overhead = registry.counter(
            "engine_overhead_seconds",
            "Time of engine steps outside of packing the batch, forward pass and sampling.",
        )
        self._preemptions = registry.counter("preemptions", "Sequences preempted for lack of blocks.")
        self._drafted = registry.counter("spec_drafted_tokens", "Tokens computed because they were foretold.")
        self._accepted = registry.counter("spec_accepted_tokens", "Foretold tokens that the model chose.")
        self._restarts = registry.counter(
            "engine_restarts", "Starts of a new engine process after the first."
        )
        self._finishes = registry.counters(
            "finish", "Sequences by finish reason.", ("task", "reason"), product(TASKS, FINISHES.values())
        )
        self._define_gauges(registry)

    def _define_gauges(self, registry: Registry) -> None:
        self._queue = registry.gauge("queue_requests", "Sequences waiting.")
        self._running = registry.gauge("running_requests", "Sequences running.")
        self._oldest = registry.gauge("queue_oldest_seconds", "Age of the oldest waiting sequence.")
        self._queue_limit = registry.gauge("queue_limit_requests", "Most sequences that may wait.")
        self._kv_usage = registry.gauge(
            "kv_cache_usage_ratio", "Share of the KV blocks held by sequences, 0 to 1."
        )
        self._kv_capacity = registry.gauge("kv_cache_capacity_tokens", "Tokens that the KV cache can hold.")
        self._weights = registry.gauge("model_weight_bytes", "Bytes of weights on the device.")
        self._load = registry.gauges(
            "model_load_seconds", "Time of each loading phase.", ("phase",), LOAD_PHASES
        )
        # Children only where they mean something: on a CPU there are none.
        self._torch_memory = registry.plain_gauge(
            "torch_memory_bytes", "Memory of the CUDA allocator.", ("model", "kind")
        )
        self._model = registry.model
        self._cache = registry.plain_gauge(
            "cache_config_info",
            "Always 1; the labels say how the KV cache is laid out.",
            ("block_size", "num_blocks", "dtype"),
        )
        self._num_blocks = 0

    def loading(self, phase: str, seconds: float) -> None:
        """A loading phase ended; phases that nobody knows are not recorded."""
        if phase in self._load:
            self._load[phase].set(seconds)

    def ready(self, info: Ready) -> None:
        """The engine told what it found and chose at start."""
        self._num_blocks = info.num_blocks
        self._kv_capacity.set(info.num_blocks * info.block_size)
        self._weights.set(info.memory_bytes)
        self._cache.clear()
        self._cache.labels(str(info.block_size), str(info.num_blocks), info.cache_dtype).set(1)

    def set_queue_limit(self, sequences: int) -> None:
        """Most sequences that may wait."""
        self._queue_limit.set(sequences)

    def step(self, stats: StepStats) -> None:
        """One engine step; a step without sequences only refreshes the gauges."""
        if stats.sequences:
            self._forward[stats.phase].observe(stats.forward_seconds)
            self._sequences[stats.phase].observe(stats.sequences)
            self._tokens[stats.phase].observe(stats.tokens)
        self._overhead.inc(max(0.0, stats.seconds - stats.forward_seconds))
        if stats.torch_memory is not None:
            for kind, amount in zip(MEMORY_KINDS, stats.torch_memory, strict=True):
                self._torch_memory.labels(self._model, kind).set(amount)
        if stats.preemptions:
            self._preemptions.inc(stats.preemptions)
        if stats.drafted:
            self._drafted.inc(stats.drafted)
            self._accepted.inc(stats.accepted)
        self._set_load(stats.running, stats.waiting, stats.oldest_wait, stats.kv_blocks_used)

    def _set_load(
        self, running: int = 0, waiting: int = 0, oldest_wait: float = 0.0, kv_blocks_used: int = 0
    ) -> None:
        self._running.set(running)
        self._queue.set(waiting)
        self._oldest.set(oldest_wait)
        self._kv_usage.set(kv_blocks_used / self._num_blocks if self._num_blocks else 0.0)

    def inter_token(self, seconds: float, tokens: int) -> None:
        """`tokens` tokens of one sequence arrived `seconds` after the one before them."""
        self._inter_token.observe(seconds / tokens, tokens)

    def sequence_finished(self, task: Task, reason: FinishReason) -> None:
        """One sequence ended."""
        self._finishes[task, FINISHES[reason]].inc()

    def idle(self) -> None:
        """The engine holds nothing."""
        self._set_load()

    def restarted(self) -> None:
        """A new engine process replaces one that ended, and holds nothing."""
        self._restarts.inc()
        self._torch_memory.clear()
        self.idle()
