"""Where the time of a request goes."""

from app.metric_families.requests import GENERATING_STAGES, TASKS
from deploy.grafana.board import Board, Section, fixed_choice
from deploy.grafana.objectives import Objectives
from deploy.grafana.panels import COUNT, SECONDS, SHARE, About, Panel, Query, graph, heat
from deploy.grafana.queries import OF_REPLICA, buckets, mean, quantile, rate, series

TTFT = "repartee_time_to_first_token_seconds"
TOKEN_GAP = "repartee_time_per_output_token_seconds"
INTER_TOKEN = "repartee_inter_token_seconds"
DURATION = "repartee_request_duration_seconds"
STAGE = "repartee_stage_duration_seconds"
LOOP_LAG = "repartee_event_loop_lag_seconds"
LOOP_BLOCKED_SECONDS = 0.05
"""As the alert EventLoopBlocked has it."""

_CHOSEN = 'task=~"$task"'
_STAGES = {
    "parse": (
        "From arrival until the body is whole, read as JSON and checked.",
        "Clients that send slowly, or very large bodies.",
        None,
    ),
    "tokenize": (
        "Chat template and tokenizer.",
        "It grows with the length of prompts alone; otherwise the API process lacks processor time.",
        None,
    ),
    "queue": (
        "From the engine's receipt of the request until it is first scheduled.",
        "Any time here is missing capacity: more replicas, or fewer requests to each.",
        "QueueSaturated",
    ),
    "prefill": (
        "From first scheduling to the first token, or to the scores of a decision.",
        "Longer prompts, fewer prefix cache hits, or too many decoding sequences beside it.",
        "TTFTHigh",
    ),
    "decode": (
        "From the first token to the last.",
        "Compare with *Gap between tokens*: where that is unchanged, the answers are longer.",
        None,
    ),
    "detokenize": (
        "All conversions of an answer's tokens to text, and the search for stop strings.",
        "The API process lacks processor time.",
        "EventLoopBlocked",
    ),
    "write": (
        "Handing bytes to the connection, which waits for clients that read slowly.",
        "Slow clients or a proxy that buffers; the service itself does nothing here.",
        None,
    ),
}


def latency(objectives: Objectives) -> Board:
    """Every stage from the first byte in to the last byte out."""
    return Board(
        name="latency",
        purpose="Where does the time of a request go, and which stage has changed?",
        sections=[
            Section("", _by_stage()),
            Section("First token", _first_token(objectives)),
            Section("Between tokens", _between_tokens(objectives)),
            Section("Whole requests", _whole()),
            Section("Around the model", _around()),
            Section("Each stage", [*map(_stage, GENERATING_STAGES), _wake_ups()]),
        ],
        variables=[fixed_choice("task", "Task", TASKS)],
    )


def _by_stage() -> list[Panel]:
    return [
        graph(
            "Mean time by stage",
            About(
                "Mean time of a request in each stage that it went through, stacked. Exact, whatever the buckets are.",
                "The layer that grew says where to look: `queue` is missing capacity, `prefill` and `decode` are the "
                "model, the others are the API process or the network.",
                "TTFTHigh",
            ),
            SECONDS,
            Query(mean(STAGE, "stage", _CHOSEN), "{{stage}}"),
            stacked=True,
            span=12,
        ),
        *(
            graph(
                f"p{100 * q:g} by stage",
                About(
                    f"{100 * q:g} of 100 requests spent no longer in this stage. Read between bucket bounds that lie "
                    "far apart: good for changes, rough as a number.",
                    "A stage whose p99 leaves its p50 behind: some requests are treated otherwise than most.",
                    "TTFTHigh",
                ),
                SECONDS,
                Query(quantile(q, STAGE, "stage", _CHOSEN), "{{stage}}"),
                span=6,
            )
            for q in (0.5, 0.99)
        ),
    ]


def _first_token(objectives: Objectives) -> list[Panel]:
    return [
        graph(
            "Time to first token",
            About(
                "Arrival to first token, queueing included, of chats and completions. The diamonds are single "
                "requests: their trace opens from there where traces are on.",
                "p99 at the dashed line, the limit of the objective.",
                "TTFTHigh",
            ),
            SECONDS,
            *(Query(quantile(q, TTFT), f"p{100 * q:g}", exemplar=True) for q in (0.5, 0.9, 0.95, 0.99)),
            span=12,
            limit=objectives.limit("ttft"),
        ),
        heat(
            "First tokens",
            About(
                "How many first tokens came after how long.",
                "Two bands instead of one: a part of the requests waits, or misses the prefix cache.",
                "TTFTHigh",
            ),
            SECONDS,
            buckets(TTFT),
            span=6,
        ),
        graph(
            "First token, streamed and whole",
            About(
                "p99 of streamed requests and of those answered in one body.",
                "They should not differ: both are decoded alike.",
                "TTFTHigh",
            ),
            SECONDS,
            Query(quantile(0.99, TTFT, "stream"), "streamed: {{stream}}"),
            span=6,
            limit=objectives.limit("ttft"),
        ),
    ]


def _between_tokens(objectives: Objectives) -> list[Panel]:
    return [
        graph(
            "Mean gap of an answer",
            About(
                "Mean gap between the tokens of one answer: what its reader feels as speed, and what the objective "
                "is about.",
                "p99 at the dashed line, the limit of the objective.",
                "ErrorBudgetBurnFast",
            ),
            SECONDS,
            *(Query(quantile(q, TOKEN_GAP), f"p{100 * q:g}") for q in (0.5, 0.9, 0.99)),
            limit=objectives.limit("itl"),
        ),
        graph(
            "Each gap",
            About(
                "Gap between two tokens of one sequence, as the engine made them; the tokens of one burst share its "
                "time.",
                "A p99 far above the p50 is stutter: long prefills between the steps, or a shared processor.",
                "ErrorBudgetBurnFast",
            ),
            SECONDS,
            *(Query(quantile(q, INTER_TOKEN), f"p{100 * q:g}") for q in (0.5, 0.9, 0.99)),
        ),
        heat(
            "Gaps",
            About(
                "How many gaps between tokens were how long.",
                "A second band above the first: steps that carry a prefill.",
                "ErrorBudgetBurnFast",
            ),
            SECONDS,
            buckets(INTER_TOKEN),
        ),
    ]


def _whole() -> list[Panel]:
    return [
        graph(
            "Request p50 and p99",
            About(
                "First byte in to last byte out of requests that were answered whole, by task.",
                "It follows the length of answers: compare with *Tokens of a request* before looking further.",
                "ErrorBudgetBurnFast",
            ),
            SECONDS,
            *(
                Query(quantile(q, DURATION, "task", _CHOSEN), f"{{{{task}}}} p{100 * q:g}")
                for q in (0.5, 0.99)
            ),
        ),
        heat(
            "Requests",
            About(
                "How many requests took how long.",
                "A band that moves up as a whole is load; one that splits is a kind of request of its own.",
                "ErrorBudgetBurnFast",
            ),
            SECONDS,
            buckets(DURATION, _CHOSEN),
        ),
        graph(
            "Tokens of a request",
            About(
                "Median prompt, and median and 99th percentile of what was generated.",
                "Longer prompts and answers explain slower requests; nothing is wrong with the service then.",
            ),
            COUNT,
            Query(quantile(0.5, "repartee_request_prompt_tokens", "task", _CHOSEN), "{{task}} prompt p50"),
            Query(
                quantile(0.5, "repartee_request_generated_tokens", "task", _CHOSEN), "{{task}} generated p50"
            ),
            Query(
                quantile(0.99, "repartee_request_generated_tokens", "task", _CHOSEN), "{{task}} generated p99"
            ),
        ),
    ]


def _around() -> list[Panel]:
    return [
        graph(
            "Engine overhead",
            About(
                "Share of one second that engine steps spend outside of the model's own: choosing who runs, "
                "and keeping the books.",
                "It should be small beside the model's own time on *Engine*; with tiny models and many sequences it "
                "becomes the limit.",
            ),
            SHARE,
            Query(rate("repartee_engine_overhead_seconds_total", "instance"), "{{instance}}"),
        ),
        graph(
            "Event loop lag",
            About(
                "How much later than asked the API process woke up.",
                "p99 above the dashed line: every stream stalls that long. The loop is blocked, not the model slow.",
                "EventLoopBlocked",
            ),
            SECONDS,
            *(Query(quantile(q, LOOP_LAG, of=OF_REPLICA), f"p{100 * q:g}") for q in (0.5, 0.9, 0.99)),
            limit=LOOP_BLOCKED_SECONDS,
        ),
        graph(
            "Oldest in the queue",
            About(
                "How long the oldest waiting sequence waits, by replica.",
                "It rises in a straight line while nothing runs: the engine is stuck.",
                "QueueStuck",
            ),
            SECONDS,
            Query(f"max by (instance) ({series('repartee_queue_oldest_seconds')})", "{{instance}}"),
        ),
    ]


def _stage(name: str) -> Panel:
    means, worry, runbook = _STAGES[name]
    return heat(
        name.capitalize(),
        About(means, worry, runbook),
        SECONDS,
        buckets(STAGE, f'{_CHOSEN}, stage="{name}"'),
        span=6,
    )


def _wake_ups() -> Panel:
    return heat(
        "Wake-ups of the event loop",
        About(
            "How late the API process woke up: what it adds to every stage but the model's.",
            "Anything that repeats above the dashed line of *Event loop lag*.",
            "EventLoopBlocked",
        ),
        SECONDS,
        buckets(LOOP_LAG, of=OF_REPLICA),
        span=6,
    )
