"""What samples amount to: percentiles, tokens a second, and goodput by the objectives."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.bench.sample import Sample
from app.slos import Slo

SHARES = (0.5, 0.9, 0.95, 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of all do not exceed; NaN of none."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else math.nan


def percentiles(values: Sequence[float]) -> dict[float, float]:
    """The values at `SHARES`."""
    ordered = sorted(values)
    return {share: percentile(ordered, share) for share in SHARES}


def measured(sample: Sample, slo: Slo) -> float | None:
    """The seconds of a sample that an objective is about; None where there are none."""
    return {"ttft": sample.first, "itl": sample.per_token, "e2e": sample.total}.get(slo.name)


def meets(sample: Sample, slo: Slo) -> bool | None:
    """Whether a request met an objective; None where the objective does not apply to it.

    A failed one met none, but of the gap between tokens, which it may not have had.
    """
    if sample.task not in slo.tasks or sample.outcome == "left":
        return None
    if slo.threshold_seconds is None or sample.outcome == "error":
        return None if slo.name == "itl" else sample.outcome == "ok"
    value = measured(sample, slo)
    if value is None:
        return None
    stalled = slo.stall_seconds is not None and max(sample.gaps, default=0.0) > slo.stall_seconds
    return value <= slo.threshold_seconds and not stalled


def is_good(sample: Sample, slos: Iterable[Slo]) -> bool:
    """Whether a request was answered and met every objective that applies to it."""
    return sample.outcome == "ok" and all(meets(sample, slo) is not False for slo in slos)


@dataclass(frozen=True)
class Attainment:
    """How many of the requests that an objective applies to met it."""

    slo: Slo
    met: int
    of: int

    @property
    def share(self) -> float:
        """Between 0 and 1; NaN where it applies to none."""
        return self.met / self.of if self.of else math.nan

    @property
    def attained(self) -> bool:
        """Whether as many met it as the objective asks for; one that applies to none is."""
        return not self.of or self.share >= self.slo.objective


@dataclass(frozen=True)
class Figures:
    """What a run, or one stage of it, amounts to. Durations in seconds.

    Attributes:
        seconds: the time that the rates below are over.
        good: requests that met every objective.
        ttft: percentiles of all that got a first token, whatever became of them.
        gap, per_token, chat_total, decision_total: percentiles of what was answered whole.
    """

    seconds: float
    requests: int
    failed: int
    left: int
    prompt_tokens: int
    tokens: int
    good: int
    attainments: tuple[Attainment, ...]
    ttft: dict[float, float]
    gap: dict[float, float]
    per_token: dict[float, float]
    chat_total: dict[float, float]
    decision_total: dict[float, float]
    lag: dict[float, float]
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def goodput(self) -> float:
        """Requests a second that met every objective; NaN over no time."""
        return self.good / self.seconds if self.seconds else math.nan

    @property
    def attained(self) -> bool:
        """Whether every objective is met."""
        return all(attainment.attained for attainment in self.attainments)


def figures(samples: Sequence[Sample], slos: Sequence[Slo], seconds: float) -> Figures:
    """The figures of samples that were taken over `seconds`."""
    answered = [sample for sample in samples if sample.outcome == "ok"]
    generated = [sample for sample in answered if sample.task != "decision"]
    errors: dict[str, int] = {}
    for sample in samples:
        if sample.error:
            errors[sample.error] = errors.get(sample.error, 0) + 1
    return Figures(
        seconds=seconds,
        requests=len(samples),
        failed=sum(sample.outcome == "error" for sample in samples),
        left=sum(sample.outcome == "left" for sample in samples),
        prompt_tokens=sum(sample.prompt_tokens for sample in samples),
        tokens=sum(sample.tokens for sample in samples),
        good=sum(is_good(sample, slos) for sample in samples),
        attainments=tuple(_attainment(samples, slo) for slo in slos),
        ttft=percentiles([sample.first for sample in samples if sample.first is not None]),
        gap=percentiles([gap for sample in generated for gap in sample.gaps]),
        per_token=percentiles([sample.per_token for sample in generated if sample.per_token is not None]),
        chat_total=percentiles([sample.total for sample in generated]),
        decision_total=percentiles([sample.total for sample in answered if sample.task == "decision"]),
        lag=percentiles([sample.lag for sample in samples]),
        errors=dict(sorted(errors.items(), key=lambda pair: -pair[1])),
    )


def _attainment(samples: Sequence[Sample], slo: Slo) -> Attainment:
    judged = [meets(sample, slo) for sample in samples]
    return Attainment(slo, judged.count(True), len(judged) - judged.count(None))


def span(samples: Sequence[Sample]) -> float:
    """Seconds from the first request to the end of the last answer."""
    return max(sample.ended for sample in samples) - min(sample.due for sample in samples) if samples else 0.0
