"""What one inference request was, took and came to."""

from itertools import product
from typing import get_args

from app.metric_families.objectives import Objectives
from app.metric_families.registry import Registry
from app.observation import Observation, Outcome, Task
from app.slos import SloName

TASKS: tuple[Task, ...] = get_args(Task)
GENERATING_TASKS: tuple[Task, ...] = ("chat", "completion")
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
GENERATING_STAGES = ("parse", "tokenize", "queue", "prefill", "decode", "detokenize", "write")
STAGES: dict[Task, tuple[str, ...]] = {
    "chat": GENERATING_STAGES,
    "completion": GENERATING_STAGES,
    "decision": ("parse", "tokenize", "queue", "prefill", "write"),
}
REJECTIONS = (
    *("queue_full", "rate_limited", "too_large", "invalid", "unauthorized"),
    *("draining", "not_ready"),
)
SERVER_REJECTIONS = frozenset({"queue_full", "draining", "not_ready"})
"""Refusals for the service's own state: they count against availability, the client's mistakes do not."""
ERROR_TYPES = ("engine", "timeout", "draining", "internal")
_TYPE_OF_CODE = {"sequence_failed": "engine", "engine_died": "engine", "shutting_down": "draining"}
"""Types of errors by their code; all others are `internal`."""
LATENCY: dict[Task, SloName] = {"chat": "ttft", "completion": "ttft", "decision": "e2e"}
"""The objective for what a client waits for first: a token, or a decision."""
CANCEL_STAGES: dict[Task, tuple[str, ...]] = {
    "chat": ("queued", "prefill", "decode"),
    "completion": ("queued", "prefill", "decode"),
    "decision": ("queued", "prefill"),
}


class RequestFamilies:
    """Requests: durations, stages, tokens, outcomes and objectives."""

    def __init__(self, registry: Registry, objectives: Objectives) -> None:
        self._objectives = objectives
        # No label for the outcome: a histogram for each would be a third of all series.
        self._duration = registry.histograms(
            "request_duration_seconds",
            "First byte in to last byte out of requests that were answered whole.",
            ("task", "stream"),
            [*product(GENERATING_TASKS, (False, True)), ("decision", False)],
        )
        self._ttft = registry.histograms(
            "time_to_first_token_seconds",
            "Arrival to first token, queueing included.",
            ("stream",),
            (False, True),
        )
        self._tpot = registry.histogram(
            "time_per_output_token_seconds",
            "Mean gap between the tokens of one request (of its slowest sequence).",
        )
        self._stages = registry.histograms(
            "stage_duration_seconds",
            "Time of one request in one stage.",
            ("task", "stage"),
            [(task, stage) for task, stages in STAGES.items() for stage in stages],
        )
        self._prompt_size = registry.histograms(
            "request_prompt_tokens", "Prompt tokens of one request.", ("task",), TASKS
        )
        self._answer_size = registry.histograms(
            "request_generated_tokens", "Generated tokens of one request.", ("task",), GENERATING_TASKS
        )
        self._prompt = registry.counter("prompt_tokens", "Prompt tokens of all requests.")
        self._cached = registry.counter("prompt_cached_tokens", "Prompt tokens that the prefix cache served.")
        self._generated = registry.counter("generated_tokens", "Tokens generated.")
        self._count_ends(registry)

    def _count_ends(self, registry: Registry) -> None:
        self._requests = registry.counters(
            "requests", "Requests by how they ended.", ("task", "outcome"), product(TASKS, OUTCOMES)
        )
        rejections = registry.plain_counter("request_rejections", "Requests refused.", ("task", "reason"))
        self._rejections = {key: rejections.labels(*key) for key in product(TASKS, REJECTIONS)}
        self._cancellations = registry.counters(
            "request_cancellations",
            "Requests whose client went away, by the stage reached.",
            ("task", "stage"),
            [(task, stage) for task, stages in CANCEL_STAGES.items() for stage in stages],
        )
        self._errors = registry.counters(
            "request_errors", "Accepted requests that failed.", ("task", "type"), product(TASKS, ERROR_TYPES)
        )

    def rejected(self, task: Task, reason: str) -> None:
        """A request was refused; `reason` is one of `REJECTIONS`."""
        self._rejections[task, reason].inc()
        if reason in SERVER_REJECTIONS:
            self._objectives.judge(task, "availability", good=False)

    def observe(self, task: Task, observation: Observation) -> None:
        """One request that ended."""
        self._requests[task, observation.outcome].inc()
        if observation.outcome == "rejected":
            return
        self._observe_end(task, observation)
        if observation.outcome == "ok":
            self._observe_answer(task, observation)
        self._prompt.inc(observation.prompt_tokens)
        self._cached.inc(observation.cached_tokens)
        self._generated.inc(observation.generated_tokens)
        self._observe_stages(task, observation)

    def _observe_end(self, task: Task, observation: Observation) -> None:
        match observation.outcome:
            case "cancelled":
                self._cancellations[task, _stage_reached(observation)].inc()
            case "timeout":
                self._errors[task, "timeout"].inc()
            case "error":
                self._errors[task, _TYPE_OF_CODE.get(observation.error_code or "", "internal")].inc()
        if observation.outcome != "cancelled" and not self._was_hurried(task, observation):
            self._objectives.judge(task, "availability", good=observation.outcome == "ok")
        self._judge_latency(task, observation)
        self._judge_gaps(task, observation)

    def _was_hurried(self, task: Task, observation: Observation) -> bool:
        """Whether it ended at a deadline of its client's that is shorter than what the objective allows."""
        if observation.outcome != "timeout" or observation.client_deadline is None:
            return False
        allowed = self._objectives.threshold(task, LATENCY[task])
        return allowed is not None and observation.client_deadline < allowed

    def _judge_latency(self, task: Task, observation: Observation) -> None:
        """However it ended: whoever left because it took too long has waited all the same."""
        total, slo = _total(observation), LATENCY[task]
        if task in GENERATING_TASKS and observation.first_token is not None:
            self._objectives.judge_time(task, slo, observation.first_token)
        elif task not in GENERATING_TASKS and observation.outcome == "ok":
            self._objectives.judge_time(task, slo, total)
        elif observation.parse is not None:  # a client that leaves within its own request waited for nothing
            self._objectives.judge_wait(task, slo, total)

    def _judge_gaps(self, task: Task, observation: Observation) -> None:
        """An answer by its pace, and any by its longest silence: those that broke off during one, too."""
        if self._objectives.is_stall(task, observation.longest_gap):
            self._objectives.judge(task, "itl", good=False)
        elif observation.outcome == "ok" and observation.token_gap is not None:
            self._objectives.judge_time(task, "itl", observation.token_gap)

    def _observe_answer(self, task: Task, observation: Observation) -> None:
        total = _total(observation)
        self._duration[task, observation.stream].observe(total, _exemplar(observation))
        self._prompt_size[task].observe(observation.prompt_tokens)
        if task not in GENERATING_TASKS:
            return
        self._answer_size[task].observe(observation.generated_tokens)
        if observation.token_gap is not None:
            self._tpot.observe(observation.token_gap)

    def _observe_stages(self, task: Task, observation: Observation) -> None:
        if observation.first_token is not None and task in GENERATING_TASKS:
            self._ttft[observation.stream].observe(observation.first_token, _exemplar(observation))
        for name in STAGES[task]:
            seconds: float | None = getattr(observation, name)
            if seconds is not None:
                self._stages[task, name].observe(seconds)


def _total(observation: Observation) -> float:
    return observation.elapsed() if observation.total is None else observation.total


def _exemplar(observation: Observation) -> dict[str, str] | None:
    """What leads from a bucket to a trace of one request in it, where it was traced."""
    return {"trace_id": observation.trace_id} if observation.trace_id else None


def _stage_reached(observation: Observation) -> str:
    if observation.first_token is not None and observation.task in GENERATING_TASKS:
        return "decode"
    return "queued" if observation.queue is None else "prefill"
