"""What the engine does with its processor and its memory."""

from deploy.grafana.board import Board, Section
from deploy.grafana.objectives import Objectives
from deploy.grafana.overview import KV_CACHE_NEAR_FULL
from deploy.grafana.panels import (
    BYTES,
    COUNT,
    EVENTS_PER_SECOND,
    REQUESTS_PER_SECOND,
    SECONDS,
    SHARE,
    TOKENS_PER_SECOND,
    About,
    Panel,
    Query,
    bars,
    colours,
    facts,
    graph,
    heat,
    neutral,
    tile,
)
from deploy.grafana.queries import (
    OF_MODEL,
    OF_REPLICA,
    RECENT,
    buckets,
    growth,
    mean,
    quantile,
    rate,
    series,
    share,
    total,
)

STEP = "repartee_model_step_seconds"
BATCH = "repartee_batch_size"
BATCH_TOKENS = "repartee_batch_tokens"
GPU_MEMORY_HIGH = 0.95
"""As the alert GPUMemoryHigh has it."""

_PROCESSES = (("repartee_engine_", "engine"), ("", "api"))
"""What the names of the metrics of each process begin with."""
_PHASE = "{{phase}}"
_REPLICA = "{{instance}}"


def engine(objectives: Objectives) -> Board:
    """Batches, steps, KV cache, speculation, processes."""
    return Board(
        name="engine",
        purpose="What does the engine do with its processor and its memory, and is it at its limit?",
        sections=[
            Section("", _now()),
            Section("Steps and batches", _steps()),
            Section("KV cache", _kv_cache()),
            Section("Speculation", _speculation()),
            Section("Ends that are not answers", _ends()),
            Section("Processes", _processes()),
            Section("What runs", _what_runs()),
            Section("GPU", _gpu(), closed=True),
        ],
    )


def _now() -> list[Panel]:
    busy = rate(f"{STEP}_sum", "instance", window=RECENT)
    overhead = rate("repartee_engine_overhead_seconds_total", "instance", window=RECENT)
    return [
        tile(
            "Engine busy",
            About(
                f"Share of the last {RECENT} that the busiest engine spent in steps.",
                "Near 100 % it has no more to give: waiting begins. Add replicas.",
                "QueueSaturated",
            ),
            SHARE,
            f"max({busy} + {overhead})",
            colours("green", (0.8, "orange"), (0.95, "red")),
            span=4,
        ),
        tile(
            "Decoded together",
            About(
                f"Mean sequences in a decoding step of the last {RECENT}.",
                "Never by itself: larger batches are more tokens a second and longer gaps between them.",
            ),
            COUNT,
            mean(BATCH, where='phase="decode"', window=RECENT),
            neutral(),
            span=4,
        ),
        tile(
            "Prefix cache hits",
            About(
                f"Share of the prompt tokens of the last {RECENT} that the prefix cache served.",
                "A fall without a change in prompts: sessions no longer come to the same replica.",
            ),
            SHARE,
            share(
                rate("repartee_prompt_cached_tokens_total", window=RECENT),
                rate("repartee_prompt_tokens_total", window=RECENT),
            ),
            neutral(),
            span=4,
        ),
        tile(
            "Drafts accepted",
            About(
                f"Share of the drafted tokens of the last {RECENT} that the model itself chose. 0 also without drafts.",
                "Never by itself: drafts are only computed while they pay.",
            ),
            SHARE,
            share(
                rate("repartee_spec_accepted_tokens_total", window=RECENT),
                rate("repartee_spec_drafted_tokens_total", window=RECENT),
            ),
            neutral(),
            span=4,
        ),
        tile(
            "Preemptions",
            About(
                "Sequences that lost their KV blocks and are computed again, in the time shown.",
                "More than a few: the KV cache is too small for the requests that run at once.",
                "KVCacheNearFull",
            ),
            COUNT,
            growth("repartee_preemptions_total"),
            colours("green", (1, "orange")),
            span=4,
        ),
        tile(
            "Engine restarts",
            About(
                "Engine processes that ended and were replaced, in the time shown.",
                "Always: until the next one is ready all streams stall and new requests get 503. The log of the "
                "replica says why it ended.",
                "Restarting",
            ),
            COUNT,
            growth("repartee_engine_restarts_total"),
            colours("green", (0.5, "red")),
            span=4,
        ),
    ]


def _steps() -> list[Panel]:
    return [
        graph(
            "Where engine time goes",
            About(
                "Seconds of each second that the engines spend, by phase; `overhead` is all of a step that is not the "
                "model. As many as there are replicas is the limit.",
                "The stack reaches the number of replicas.",
                "QueueSaturated",
            ),
            SHARE,
            Query(rate(f"{STEP}_sum", "phase"), _PHASE),
            Query(rate("repartee_engine_overhead_seconds_total"), "overhead"),
            stacked=True,
        ),
        graph(
            "Step time",
            About(
                "Forward pass and sampling of one step, or of one burst of several tokens.",
                "p99 of `decode` is stutter that readers see; long `prefill` steps delay the decoding between them.",
                "ErrorBudgetBurnFast",
            ),
            SECONDS,
            *(Query(quantile(q, STEP, "phase"), f"{_PHASE} p{100 * q:g}") for q in (0.5, 0.99)),
        ),
        heat(
            "Decoding steps",
            About(
                "How many decoding steps took how long.",
                "A second band: another process takes the processor, or the clock falls.",
            ),
            SECONDS,
            buckets(STEP, 'phase="decode"'),
        ),
        graph(
            "Batch size",
            About(
                "Sequences in one step: mean and 99th percentile.",
                "`decode` at the most that the settings allow while the queue grows.",
                "QueueSaturated",
            ),
            COUNT,
            Query(mean(BATCH, "phase"), f"{_PHASE} mean"),
            Query(quantile(0.99, BATCH, "phase"), f"{_PHASE} p99"),
        ),
        graph(
            "Tokens of a step",
            About(
                "Tokens that one step computed: mean and 99th percentile.",
                "`prefill` at the token budget of a step: prompts are cut into chunks, as they should be.",
            ),
            COUNT,
            Query(mean(BATCH_TOKENS, "phase"), f"{_PHASE} mean"),
            Query(quantile(0.99, BATCH_TOKENS, "phase"), f"{_PHASE} p99"),
        ),
        graph(
            "Tokens by phase",
            About(
                "Tokens that the engines compute a second, drafts included, cached prompt tokens not.",
                "A fall while the queue is not empty.",
                "QueueStuck",
            ),
            TOKENS_PER_SECOND,
            Query(rate(f"{BATCH_TOKENS}_sum", "phase"), _PHASE),
            stacked=True,
        ),
    ]


def _kv_cache() -> list[Panel]:
    return [
        graph(
            "KV cache in use",
            About(
                "Share of the KV blocks that running sequences hold, by replica.",
                f"From {KV_CACHE_NEAR_FULL:.0%}: sequences are preempted and computed again.",
                "KVCacheNearFull",
            ),
            SHARE,
            Query(f"max by (instance) ({series('repartee_kv_cache_usage_ratio')})", _REPLICA),
            limit=KV_CACHE_NEAR_FULL,
            top=1,
        ),
        graph(
            "KV cache in tokens",
            About(
                "Tokens that the caches of all chosen replicas can hold, and do.",
                "Never by itself; it tells how many more contexts would fit.",
                "KVCacheNearFull",
            ),
            COUNT,
            Query(total(series("repartee_kv_cache_capacity_tokens")), "capacity"),
            Query(
                f"sum({series('repartee_kv_cache_usage_ratio')} * {series('repartee_kv_cache_capacity_tokens')})",
                "in use",
            ),
            span=6,
        ),
        graph(
            "Prefix cache hits by replica",
            About(
                "Share of prompt tokens that the prefix cache served.",
                "A fall without a change in prompts: sessions no longer come to the same replica.",
            ),
            SHARE,
            Query(
                share(
                    rate("repartee_prompt_cached_tokens_total", "instance"),
                    rate("repartee_prompt_tokens_total", "instance"),
                ),
                _REPLICA,
            ),
            span=5,
            top=1,
        ),
        graph(
            "Preemptions by replica",
            About(
                "Sequences that lost their KV blocks and are computed again.",
                "More than a few: the KV cache is too small for the requests that run at once.",
                "KVCacheNearFull",
            ),
            EVENTS_PER_SECOND,
            Query(rate("repartee_preemptions_total", "instance"), _REPLICA),
            span=5,
        ),
    ]


def _speculation() -> list[Panel]:
    drafted, accepted = (rate(f"repartee_spec_{what}_tokens_total") for what in ("drafted", "accepted"))
    return [
        graph(
            "Drafted and accepted",
            About(
                "Tokens that were computed because they were foretold, and those of them that the model chose.",
                "Never by itself: drafts are only computed while they pay.",
            ),
            TOKENS_PER_SECOND,
            Query(drafted, "drafted"),
            Query(accepted, "accepted"),
            span=12,
        ),
        graph(
            "Share accepted",
            About(
                "Accepted tokens over drafted ones; 0 also without drafts.",
                "A fall after a change of the model: the known answers are those of the former one.",
            ),
            SHARE,
            Query(share(accepted, drafted), "accepted"),
            span=12,
            top=1,
        ),
    ]


def _ends() -> list[Panel]:
    return [
        graph(
            "Sequences by finish",
            About(
                "Why sequences ended: `stop` and `length` are answers, `deadline` is an answer cut at its deadline.",
                "`expired` waited too long in the queue; `error` failed; `deadline` in plenty is a slow engine.",
                "Errors",
            ),
            EVENTS_PER_SECOND,
            Query(rate("repartee_finish_total", "reason"), "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Errors by type",
            About(
                "Accepted requests that failed.",
                "`engine`: it ended or refused a sequence; `timeout`: too slow; `internal`: a defect, see the log.",
                "Errors",
            ),
            REQUESTS_PER_SECOND,
            Query(rate("repartee_request_errors_total", "task, type"), "{{task}} {{type}}"),
            stacked=True,
        ),
        graph(
            "Clients that went away",
            About(
                "Requests whose client left, by the stage that they had reached.",
                "Many in `queued` or `prefill`: clients lose patience before the first token.",
                "TTFTHigh",
            ),
            REQUESTS_PER_SECOND,
            Query(rate("repartee_request_cancellations_total", "task, stage"), "{{task}} {{stage}}"),
            stacked=True,
        ),
    ]


def _processes() -> list[Panel]:
    def both(name: str, ask: str = "{}") -> tuple[Query, ...]:
        """The same of the engine process and of the API process."""
        return tuple(
            Query(
                ask.format(series(f"{prefix}process_{name}", of=OF_REPLICA)),
                f"{_REPLICA} {process}",
            )
            for prefix, process in _PROCESSES
        )

    return [
        graph(
            "Resident memory",
            About(
                "Memory of the engine process (weights, KV cache) and of the API process.",
                "Growth without end: compare with the memory limit of the container.",
                "Restarting",
            ),
            BYTES,
            *both("resident_memory_bytes"),
        ),
        graph(
            "Processor time",
            About(
                "Cores that both processes use.",
                "The API process near 1 core: it is the limit, not the engine. Less than the threads of the engine "
                "while it is busy: the processor is shared or throttled.",
                "EventLoopBlocked",
            ),
            COUNT,
            *both("cpu_seconds_total", "rate({}[$__rate_interval])"),
        ),
        graph(
            "Open files",
            About(
                "Open file descriptors over the most that each process may have; connections are most of them.",
                "Growth without end: clients keep connections open, or some leak.",
            ),
            SHARE,
            *(
                Query(
                    f"{series(f'{prefix}process_open_fds', of=OF_REPLICA)} "
                    f"/ {series(f'{prefix}process_max_fds', of=OF_REPLICA)}",
                    f"{_REPLICA} {process}",
                )
                for prefix, process in _PROCESSES
            ),
        ),
        graph(
            "Age of the processes",
            About(
                "Time since each process was started.",
                "A saw: it ends and starts again and again.",
                "Restarting",
            ),
            SECONDS,
            *both("start_time_seconds", "time() - {}"),
            span=4,
        ),
        graph(
            "Log lines dropped",
            About(
                "Log lines that were dropped because whoever reads the log is too slow.",
                "At all: the log has gaps.",
            ),
            EVENTS_PER_SECOND,
            Query(rate("repartee_log_lines_dropped_total", "instance", of=OF_REPLICA), _REPLICA),
            span=4,
        ),
        graph(
            "HTTP answers by route",
            About(
                "All HTTP answers, probes and scrapes included, by route and class of status.",
                "`5xx` at all; `4xx` after a change of clients or keys.",
                "Errors",
            ),
            REQUESTS_PER_SECOND,
            Query(
                rate("repartee_http_requests_total", "route, method, status", of=OF_REPLICA),
                "{{method}} {{route}} {{status}}",
            ),
            stacked=True,
            span=16,
        ),
    ]


def _what_runs() -> list[Panel]:
    return [
        facts(
            "Builds",
            About(
                "What each replica runs.",
                "Replicas that differ when no update is under way.",
            ),
            f"max by (instance, version, revision, model, backend, dtype, quantization, kernels, torch, python) "
            f"({series('repartee_build_info')})",
            ("instance", "version", "revision", "model", "backend", "dtype", "quantization", "kernels"),
            span=16,
        ),
        facts(
            "KV cache layout",
            About("How each replica lays out its KV cache.", "Replicas of one size that differ."),
            f"max by (instance, block_size, num_blocks, dtype) ({series('repartee_cache_config_info', of=OF_REPLICA)})",
            ("instance", "num_blocks", "block_size", "dtype"),
            span=8,
        ),
        bars(
            "Loading",
            About(
                "Time of each phase of the last start, of the slowest replica.",
                "A start that takes longer than the startup probe allows is ended before it is ready.",
                "NotReady",
            ),
            SECONDS,
            Query(f"max by (phase) ({series('repartee_model_load_seconds')})", _PHASE),
            steps=neutral(),
            span=12,
        ),
        graph(
            "Weights",
            About(
                "Bytes of weights on the device.",
                "A change without a change of model or quantization.",
            ),
            BYTES,
            Query(
                f"max by (instance, model) ({series('repartee_model_weight_bytes')})",
                "{{instance}} {{model}}",
            ),
            span=12,
        ),
    ]


def _gpu() -> list[Panel]:
    used, capacity = (
        series(f"repartee_gpu_memory_{what}_bytes", of=OF_REPLICA) for what in ("used", "total")
    )
    card = "{{instance}} GPU {{gpu}}"
    return [
        graph(
            "GPU memory in use",
            About(
                "Share of the memory of each card, of all processes on it. Empty without a GPU.",
                f"From {GPU_MEMORY_HIGH:.0%}: the next allocation may fail.",
                "GPUMemoryHigh",
            ),
            SHARE,
            Query(f"{used} / {capacity}", card),
            limit=GPU_MEMORY_HIGH,
            top=1,
        ),
        graph(
            "GPU busy",
            About(
                "Share of the time in which some kernel ran. Empty without a GPU.",
                "Low while the queue grows: the host feeds the card too slowly.",
                "QueueSaturated",
            ),
            SHARE,
            Query(series("repartee_gpu_utilization_ratio", of=OF_REPLICA), card),
            top=1,
        ),
        graph(
            "Memory of PyTorch",
            About(
                "What PyTorch's allocator holds: allocated, reserved, and the most since start. Empty without a GPU.",
                "`reserved` far above `allocated`: the memory is fragmented.",
                "GPUMemoryHigh",
            ),
            BYTES,
            Query(
                f"sum by (instance, kind) ({series('repartee_torch_memory_bytes', of=OF_MODEL)})",
                "{{instance}} {{kind}}",
            ),
        ),
    ]
