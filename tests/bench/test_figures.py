"""What samples amount to: a failure is never good, a client that left is neither, and a percentile is a sample."""

import math

import pytest

from app.bench.figures import figures, percentile, span
from app.bench.sample import Sample
from app.bench.voided import void_reason
from app.slos import Slo

SLOS = (
    Slo(name="availability", tasks=("chat", "decision"), objective=0.9),
    Slo(name="ttft", tasks=("chat",), objective=0.5, threshold_seconds=0.5),
    Slo(name="itl", tasks=("chat",), objective=0.5, threshold_seconds=0.1, stall_seconds=1.0),
    Slo(name="e2e", tasks=("decision",), objective=0.5, threshold_seconds=0.15),
)


def chat(
    first: float = 0.1, per_token: float | None = 0.01, lag: float = 0.0, gaps: tuple[float, ...] = ()
) -> Sample:
    return Sample(
        "chat", "chat", 1.0, 1.0, lag, first=first, total=1.0, gaps=list(gaps), per_token=per_token, tokens=3
    )


def failed() -> Sample:
    return Sample("chat", "chat", 1.0, 1.0, 0.0, outcome="error", total=2.0, error="it broke")


def left() -> Sample:
    return Sample("chat", "chat", 1.0, 1.0, 0.0, outcome="left", first=9.0, total=9.0)


def decision(total: float) -> Sample:
    return Sample("decision", "decision", 1.0, 1.0, 0.0, total=total)


def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([3.0, 1.0], 0.99) == 3 and math.isnan(percentile([], 0.5))


@pytest.mark.parametrize(
    ("sample", "good"),
    [
        (chat(), 1),
        (chat(first=0.6), 0),
        (chat(per_token=0.2), 0),
        (chat(per_token=None), 1),
        (chat(gaps=(0.9, 1.0)), 1),
        (chat(gaps=(0.001, 1.1)), 0),
        (failed(), 0),
        (left(), 0),
        (decision(0.1), 1),
        (decision(0.2), 0),
    ],
)
def test_good_is_answered_and_within_every_objective(sample: Sample, good: int) -> None:
    found = figures([sample], SLOS, 2.0)
    assert (found.good, found.goodput) == (good, good / 2)


def test_a_failure_misses_the_first_token_and_a_client_that_left_is_not_counted() -> None:
    found = {
        one.slo.name: (one.met, one.of) for one in figures([chat(), failed(), left()], SLOS, 1.0).attainments
    }
    assert found == {"availability": (1, 2), "ttft": (1, 2), "itl": (1, 1), "e2e": (0, 0)}


def test_latencies_are_of_answers_and_errors_are_counted_by_their_text() -> None:
    found = figures([chat(0.1), chat(0.3), failed(), failed(), decision(0.2)], SLOS, 1.0)
    assert (found.ttft[0.99], found.chat_total[0.99], found.decision_total[0.5]) == (0.3, 1.0, 0.2)
    assert (found.requests, found.failed, found.errors) == (5, 2, {"it broke": 2})


def test_a_first_token_counts_whatever_became_of_the_rest() -> None:
    broken = failed()
    broken.first = 5.0
    found = figures([chat(0.1), broken, left()], SLOS, 1.0)
    assert (found.ttft[0.5], found.ttft[0.99], found.chat_total[0.99]) == (5.0, 9.0, 1.0)


def test_a_run_lasts_from_its_first_request_to_its_last_answer() -> None:
    assert span([chat(), failed()]) == 2.0 and span([]) == 0.0


def test_a_run_is_void_by_the_tail_of_its_lag() -> None:
    late = [chat(lag=0.03)] * 2
    assert void_reason([chat()] * 98 + late, most_lag=0.025) is not None
    assert void_reason([chat()] * 998 + late, most_lag=0.025) is None
    assert void_reason([chat()] * 98 + late, most_lag=0.03) is None
    assert void_reason([]) is None
