"""docs/metrics.md, written from the metrics themselves: `python -m docs.metric_reference`."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client.metrics_core import Metric

from app.engine.messages import Ready, StepStats
from app.metric_families.buckets import BOUNDS, PREFIX
from app.metric_families.decisions import DecisionFamilies
from app.metric_families.engine import EngineFamilies
from app.metric_families.gpu import GpuFamilies
from app.metric_families.objectives import Objectives
from app.metric_families.policy import PolicyFamilies
from app.metric_families.processes import ProcessFamilies
from app.metric_families.registry import Registry
from app.metric_families.requests import RequestFamilies
from app.metric_families.service import ServiceFamilies
from app.metric_families.tenants import TenantFamilies
from app.metric_families.vllm import ALIASES
from app.slos import load_slos

PAGE = Path(__file__).with_name("metrics.md")

INTRODUCTION = """\
# Metrics

Written by `python -m docs.metric_reference`; do not edit. `GET /metrics` answers in Prometheus' text format or in
OpenMetrics, as the `Accept` header asks; with API keys it wants one with the scope `metrics`.

Durations are seconds, sizes bytes or tokens, ratios 0 to 1; `model` is the served name. All label values that are known
beforehand are there from the start, at 0, those of every route among them. With everything on
there are fewer than 1,000 series. Why they are as they are: [ADR 12](adr/0012-metrics.md). On
`repartee_time_to_first_token_seconds` and `repartee_request_duration_seconds` OpenMetrics also shows exemplars
with the `trace_id` of a request that was traced.
"""

OPEN_TELEMETRY: Mapping[str, str] = {
    "request_duration_seconds": "gen_ai.server.request.duration",
    "time_to_first_token_seconds": "gen_ai.server.time_to_first_token",
    "time_per_output_token_seconds": "gen_ai.server.time_per_output_token",
    "request_prompt_tokens": "gen_ai.client.token.usage, gen_ai.token.type = input",
    "request_generated_tokens": "gen_ai.client.token.usage, gen_ai.token.type = output",
}
"""OpenTelemetry's names of ours; the last two it measures at the client."""

OPEN_VALUES: Mapping[str, str] = {
    "tenant": "`-` (nobody's), the first 12 of the keys file, `other`",
    "rule": "names of the policy file, at most 8",
    "at": "`input`, `output`",
    "action": "`refuse`, `mask`, `flag`, `failed`",
    "route": "route templates, `unmatched`",
    "method": "`GET`, `HEAD`, `POST`, `OPTIONS`, `other`",
    "status": "`2xx`, `4xx`, `5xx`",
    "gpu": "NVML's index of it; at most 8",
    **dict.fromkeys(
        ("version", "revision", "python", "torch", "backend", "dtype", "quantization", "kernels"), "text"
    ),
    **dict.fromkeys(("implementation", "major", "minor", "patchlevel"), "text"),
    **dict.fromkeys(("block_size", "num_blocks"), "number"),
}
"""What labels may say where that is not fixed in the code."""

_READY = Ready(
    model="any",
    device="any",
    dtype="any",
    quantization="any",
    cache_dtype="any",
    kernels="any",
    reasons=[],
    max_model_len=1,
    vocab_size=1,
    eos_token_ids=[],
    block_size=1,
    num_blocks=1,
    parameters=1,
    memory_bytes=1,
    torch="any",
)


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for title, families in sections().items():
        parts.append(f"## {title}\n\n| metric | type | labels | what it says |\n| --- | --- | --- | --- |")
        parts[-1] += "".join(f"\n{_row(family)}" for family in families) + "\n"
    return "\n".join([*parts, _buckets(), _other_names()])


def sections() -> dict[str, list[Metric]]:
    """The families by subject, with the samples that they have when all is known."""
    return {
        "Requests": _made(lambda registry: RequestFamilies(registry, Objectives(registry, load_slos()))),
        "Decisions": _made(DecisionFamilies),
        "Tenants": _made(TenantFamilies),
        "Policy": _made(_policy),
        "Engine": _made(_engine),
        "Service": _made(_service),
        "GPUs": list(GpuFamilies().describe()),
        "Processes": _made(_processes),
    }


def _made(make: Callable[[Registry], object]) -> list[Metric]:
    registry = Registry("any")
    make(registry)
    return list(registry.collectors.collect())


def _policy(registry: Registry) -> None:
    PolicyFamilies(registry).know([("any", "input", "refuse")])


def _engine(registry: Registry) -> None:
    families = EngineFamilies(registry)
    families.ready(_READY)
    families.step(StepStats(torch_memory=(0, 0, 0)))


def _service(registry: Registry) -> None:
    families = ServiceFamilies(registry, "")
    families.ready(_READY)
    families.http("any", "GET", 200)


def _processes(registry: Registry) -> None:
    families = ProcessFamilies(registry, lambda: 0)
    families.engine_pid = os.getpid()


def _row(family: Metric) -> str:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return f"| `{name}` | {family.type} | {'; '.join(_labels(family))} | {family.documentation} |"


def _labels(family: Metric) -> Iterable[str]:
    values: dict[str, dict[str, None]] = {label: {} for label in getattr(family, "_labelnames", ())}
    for sample in family.samples:
        for label, text in sample.labels.items():
            values.setdefault(label, {})[text] = None
    for label, texts in values.items():
        if label == "model":
            yield "`model`"
        elif label != "le":
            yield f"`{label}`: " + (OPEN_VALUES.get(label) or ", ".join(f"`{text}`" for text in texts))


def _buckets() -> str:
    rows = [f"| `{name}` | {' '.join(f'{bound:g}' for bound in bounds)} |" for name, bounds in BOUNDS.items()]
    return "\n".join(
        [
            "## Buckets\n",
            "Upper bounds. `REPARTEE_METRICS_BUCKETS` replaces those of a histogram by no more than it has; the",
            "thresholds of the objectives (`app/slos.toml`, or `REPARTEE_SLO_FILE`) must stay among them.\n",
            "| histogram | bounds |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )


def _other_names() -> str:
    rows = [
        f"| `{PREFIX}{name}` | {_code(OPEN_TELEMETRY.get(name))} | {_code(ALIASES.get(name))} |"
        for name in dict.fromkeys((*OPEN_TELEMETRY, *ALIASES))
    ]
    return "\n".join(
        [
            "## Other names\n",
            "What OpenTelemetry's conventions for generative AI call it, and vLLM. With the setting",
            "`REPARTEE_METRICS_VLLM_ALIASES=true` vLLM's names are exported too, with the labels `model_name` and",
            "`engine`; the histograms are then sums over chat and completions, streamed or not.\n",
            "| metric | OpenTelemetry | vLLM |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _code(name: str | None) -> str:
    return f"`{name}`" if name else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
