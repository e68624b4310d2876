"""The tables of a run: latencies, rates, objectives, failures; and the same as plain values for JSON."""

import math
from typing import Any

from app.bench.figures import SHARES, Figures
from app.bench.markdown import aligned, number

_MOST_ERRORS = 5


def latencies_table(found: Figures) -> str:
    """Percentiles in milliseconds of what was answered; kinds of which there are none are left out."""
    rows = {
        "first token": found.ttft,
        "between texts": found.gap,
        "per token, mean of a request": found.per_token,
        "whole generated answer": found.chat_total,
        "decision": found.decision_total,
        "client lag": found.lag,
    }
    return aligned(
        ["ms, of what was answered", *(f"p{share * 100:g}" for share in SHARES)],
        [
            [name, *(number(value * 1e3) for value in values.values())]
            for name, values in rows.items()
            if math.isfinite(values[SHARES[0]])
        ],
    )


def rates_table(found: Figures) -> str:
    """What went through in a second, and what did not."""
    rows = [
        ["requests", number(found.requests), _rate(found, found.requests)],
        ["good: met every objective", number(found.good), _rate(found, found.good)],
        ["failed", number(found.failed), _rate(found, found.failed)],
        *([["left by the client", number(found.left), _rate(found, found.left)]] if found.left else []),
        ["generated tokens", number(found.tokens), _rate(found, found.tokens)],
        ["prompt tokens", number(found.prompt_tokens), _rate(found, found.prompt_tokens)],
    ]
    return aligned(["", "count", "per second"], rows)


def objectives_table(found: Figures) -> str:
    """Each objective, and how many requests met it."""
    return aligned(
        ["objective", "within ms", "asked for", "requests", "met", "verdict"],
        [
            [
                f"{one.slo.name} of {', '.join(one.slo.tasks)}",
                number(one.slo.threshold_seconds * 1e3) if one.slo.threshold_seconds else "-",
                share_text(one.slo.objective),
                number(one.of),
                share_text(one.share),
                "met" if one.attained else "MISSED",
            ]
            for one in found.attainments
            if one.of
        ],
    )


def errors_list(found: Figures) -> str:
    """The failures by how often they came; an empty string without any."""
    shown = list(found.errors.items())[:_MOST_ERRORS]
    lines = [f"- {count} x {error}" for error, count in shown]
    if rest := len(found.errors) - len(shown):
        lines.append(f"- and {rest} other kinds")
    return "\n".join(lines)


def summary(found: Figures) -> str:
    """All tables of a run."""
    parts = [rates_table(found), latencies_table(found), objectives_table(found)]
    if found.errors:
        parts.append("Failures:\n\n" + errors_list(found))
    return "\n\n".join(parts)


def plain(found: Figures) -> dict[str, Any]:
    """The figures for JSON: seconds, and null for what there is none of."""

    def named(values: dict[float, float]) -> dict[str, float | None]:
        return {f"p{share * 100:g}": _finite(value) for share, value in values.items()}

    return {
        "seconds": found.seconds,
        "requests": found.requests,
        "failed": found.failed,
        "left": found.left,
        "prompt_tokens": found.prompt_tokens,
        "generated_tokens": found.tokens,
        "requests_per_second": _finite(found.requests / found.seconds) if found.seconds else None,
        "tokens_per_second": _finite(found.tokens / found.seconds) if found.seconds else None,
        "goodput_per_second": _finite(found.goodput),
        "time_to_first_token_seconds": named(found.ttft),
        "inter_text_seconds": named(found.gap),
        "time_per_output_token_seconds": named(found.per_token),
        "generated_answer_seconds": named(found.chat_total),
        "decision_seconds": named(found.decision_total),
        "client_lag_seconds": named(found.lag),
        "objectives": [
            {
                "name": one.slo.name,
                "tasks": list(one.slo.tasks),
                "threshold_seconds": one.slo.threshold_seconds,
                "objective": one.slo.objective,
                "requests": one.of,
                "met": one.met,
                "attained": one.attained,
            }
            for one in found.attainments
        ],
        "errors": found.errors,
    }


def share_text(share: float) -> str:
    """A share in percent; all of them only where it is all of them."""
    if math.isnan(share):
        return "-"
    return "100 %" if share == 1 else f"{math.floor(share * 1e4) / 100:g} %"


def _rate(found: Figures, count: int) -> str:
    return number(count / found.seconds) if found.seconds else "-"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
