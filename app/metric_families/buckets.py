"""Bucket bounds of the histograms: what they are, and what an operator may put in their place."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from app.slos import Slo, SloName

PREFIX = "repartee_"

# Few bounds where many children share a family: each bound is a series for each of them.
TTFT_SECONDS = (
    *(0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5),
    *(1.0, 1.5, 2.5, 5.0, 10.0, 20.0),
)
DURATION_SECONDS = (0.01, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TOKEN_GAP_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03),
    *(0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0),
)
STAGE_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
STEP_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
BATCH_SEQUENCES = (1, 2, 4, 8, 16, 32, 64)
BATCH_TOKENS = (1, 8, 32, 128, 512, 2048)
REQUEST_TOKENS = (16, 64, 256, 1024, 4096, 16384)
LABEL_MASS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

BOUNDS: Mapping[str, tuple[float, ...]] = {
    "repartee_time_to_first_token_seconds": TTFT_SECONDS,
    "repartee_request_duration_seconds": DURATION_SECONDS,
    "repartee_time_per_output_token_seconds": TOKEN_GAP_SECONDS,
    "repartee_inter_token_seconds": TOKEN_GAP_SECONDS,
    "repartee_stage_duration_seconds": STAGE_SECONDS,
    "repartee_model_step_seconds": STEP_SECONDS,
    "repartee_event_loop_lag_seconds": STEP_SECONDS,
    "repartee_batch_size": BATCH_SEQUENCES,
    "repartee_batch_tokens": BATCH_TOKENS,
    "repartee_request_prompt_tokens": REQUEST_TOKENS,
    "repartee_request_generated_tokens": REQUEST_TOKENS,
    "repartee_decision_label_mass": LABEL_MASS,
    "repartee_decision_confidence": CONFIDENCE,
}
"""The bounds of each histogram; seconds, sequences, tokens, or shares of 1."""

SHOWN_BY: Mapping[SloName, str] = {
    "ttft": "repartee_time_to_first_token_seconds",
    "itl": "repartee_time_per_output_token_seconds",
    "e2e": "repartee_request_duration_seconds",
}
"""The histogram that shows what an objective is about."""


class InvalidBuckets(ValueError):
    """Bucket bounds that cannot be used; the message is one line for the operator."""


def bounds_with(
    overrides: Mapping[str, Sequence[float]], slos: Iterable[Slo]
) -> Mapping[str, tuple[float, ...]]:
    """The bounds of each histogram, the operator's where there are some.

    Raises:
        InvalidBuckets: of a family that is no histogram, not increasing and positive, more than are shipped, or
            without the threshold of an objective: what share of requests met it could not be read from the histogram.
    """
    for name, bounds in overrides.items():
        _check(name, bounds)
    merged = {**BOUNDS, **{name: tuple(bounds) for name, bounds in overrides.items()}}
    for slo in slos:
        if slo.threshold_seconds is None:
            continue
        shown = merged[SHOWN_BY[slo.name]]
        if slo.threshold_seconds not in shown:
            raise InvalidBuckets(
                f"the threshold of the objective {slo.name}, {slo.threshold_seconds:g} s, is no bucket bound of "
                f"{SHOWN_BY[slo.name]}, which are {', '.join(f'{bound:g}' for bound in shown)}: take one of them, or "
                "set REPARTEE_METRICS_BUCKETS"
            )
    return merged


def _check(name: str, bounds: Sequence[float]) -> None:
    if name not in BOUNDS:
        near = difflib.get_close_matches(name, BOUNDS, n=1)
        raise InvalidBuckets(f"{name} is no histogram" + (f"; did you mean {near[0]}?" if near else ""))
    rises = all(lower < upper for lower, upper in zip((0.0, *bounds), bounds, strict=False))
    if not bounds or not rises or bounds[-1] == float("inf"):
        raise InvalidBuckets(f"the bounds of {name} must be finite, positive and increasing")
    # Each is a series for every child of the family, and all series together are fewer than a thousand.
    if len(bounds) > len(BOUNDS[name]):
        raise InvalidBuckets(f"{name} takes at most {len(BOUNDS[name])} bounds and not {len(bounds)}")
