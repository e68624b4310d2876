"""Bucket bounds: every threshold of an objective is one, and those of an operator are checked."""

from collections.abc import Mapping, Sequence

import pytest
from prometheus_client.metrics_core import HistogramMetricFamily

from app.metric_families.buckets import BOUNDS, SHOWN_BY, InvalidBuckets, bounds_with
from app.metrics import Metrics
from app.slos import Slo, load_slos

E2E = "repartee_request_duration_seconds"
STEP = "repartee_model_step_seconds"


def test_every_shipped_threshold_is_a_bucket_bound_of_the_metric_that_shows_it() -> None:
    timed = [slo for slo in load_slos() if slo.threshold_seconds is not None]
    assert {slo.name for slo in timed} == set(SHOWN_BY)
    assert all(slo.threshold_seconds in BOUNDS[SHOWN_BY[slo.name]] for slo in timed)


def test_every_histogram_can_be_given_other_bounds() -> None:
    families = Metrics("toy").registry.collect()
    assert {family.name for family in families if family.type == HistogramMetricFamily("a", "b").type} == set(
        BOUNDS
    )


def test_a_threshold_between_two_bounds_is_refused() -> None:
    slo = Slo(name="ttft", tasks=("chat",), objective=0.9, threshold_seconds=0.33)
    with pytest.raises(InvalidBuckets) as caught:
        bounds_with({}, [slo])
    message = str(caught.value)
    assert all(word in message for word in ("ttft", "0.33", "repartee_time_to_first_token_seconds", "0.25"))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"repartee_model_step_second": [1]}, "did you mean repartee_model_step_seconds?"),
        ({"repartee_requests_total": [1]}, "repartee_requests_total is no histogram"),
        ({STEP: []}, "finite, positive and increasing"),
        ({STEP: [0, 1]}, "finite, positive and increasing"),
        ({STEP: [-1, 1]}, "finite, positive and increasing"),
        ({STEP: [1, 1]}, "finite, positive and increasing"),
        ({STEP: [2, 1]}, "finite, positive and increasing"),
        ({STEP: [1, float("inf")]}, "finite, positive and increasing"),
        ({STEP: [1, float("nan")]}, "finite, positive and increasing"),
        ({STEP: range(1, 12)}, f"{STEP} takes at most 10 bounds and not 11"),
        ({E2E: [0.1, 0.2, 1]}, "the threshold of the objective e2e, 0.15 s, is no bucket bound"),
    ],
)
def test_bounds_that_cannot_be_used(overrides: Mapping[str, Sequence[float]], says: str) -> None:
    with pytest.raises(InvalidBuckets) as caught:
        bounds_with(overrides, load_slos())
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_bounds_of_ones_own_replace_those_of_that_family_alone() -> None:
    bounds = bounds_with({STEP: [0.5, 2]}, load_slos())
    assert bounds[STEP] == (0.5, 2)
    assert {name: bounds[name] for name in bounds if name != STEP} == {
        name: BOUNDS[name] for name in BOUNDS if name != STEP
    }
