"""What metrics cost: the arithmetic of the bench, and a service that observes nothing."""

import math
from collections import Counter

import pytest

from app.bench.client import Timeline
from app.engine.messages import FinishReason, StepStats
from app.metrics import Metrics
from loadtests.metrics_cost import (
    Figures,
    bound_of_share,
    buckets_of,
    exit_code,
    gap,
    percentile,
    report,
    speed,
    verdicts,
)
from loadtests.unobserved_service import strip
from tests.exposition import MODEL, chat, samples
from tests.scoring_engine import READY


def timeline(*texts: float, tokens: int = 10) -> Timeline:
    return Timeline(sent=texts[0] - 1, texts=list(texts), ended=texts[-1], tokens=tokens)


def test_buckets_are_read_from_what_the_service_exposes() -> None:
    metrics = Metrics(MODEL)
    metrics.loop_lag(0.003)
    exposition = metrics.render("application/openmetrics-text; version=1.0.0")[0].decode()
    buckets = buckets_of(exposition, "repartee_event_loop_lag_seconds")
    assert (buckets[0.0025], buckets[0.005], buckets[math.inf]) == (0, 1, 1)


@pytest.mark.parametrize(("share", "bound"), [(0.5, 0.001), (0.9, 0.005), (0.99, math.inf)])
def test_the_bound_of_a_share(share: float, bound: float) -> None:
    assert bound_of_share(Counter({0.001: 60, 0.005: 95, math.inf: 100}), share) == bound


def test_nothing_observed_has_no_bound() -> None:
    assert math.isnan(bound_of_share(Counter({0.001: 0, math.inf: 0}), 0.99))


def test_percentiles_and_speed() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 1.0) == 3.0
    assert speed([timeline(1.0, 2.0), timeline(1.5, 4.0)]) == 20 / 4


def test_gaps_count_while_all_streams_speak() -> None:
    first = timeline(0.0, 9.0, 10.0, 11.0, 12.0)  # its long gap is over before the other begins
    second = timeline(10.0, 11.0, 12.0, 20.0)
    assert gap([first, second]) == 1.0


def figures(*, lag: float, gap: float, speed: float) -> Figures:
    return Figures(
        scrape=[0.01],
        idle_lag=Counter({0.001: 9, math.inf: 9}),
        scraped_lag=Counter({lag: 9, math.inf: 9}),
        gap_alone=[0.004, 0.005],
        gap_scraped=[0.004 + gap, 0.005 + gap],
        speed_watched=[speed, speed],
        speed_bare=[100.0, 100.0],
        series=700,
    )


def test_what_was_promised_is_kept_or_not() -> None:
    kept = figures(lag=0.005, gap=0.0009, speed=99.0)
    assert [gate.verdict for gate in verdicts(kept)] == ["pass"] * 3 and exit_code(kept) == 0
    missed = figures(lag=0.01, gap=0.002, speed=97.0)
    assert [gate.verdict for gate in verdicts(missed)] == ["FAIL"] * 3 and exit_code(missed) == 1


def test_a_promise_that_was_not_measured_is_not_kept() -> None:
    unmeasured = figures(lag=0.005, gap=0.0, speed=99.0)
    unmeasured.scraped_lag = Counter()
    assert exit_code(unmeasured) == 1


def test_throughput_is_compared_in_pairs() -> None:
    """A machine that is slower for one pair slows both of it, and the others say what the difference is."""
    drifting = figures(lag=0.005, gap=0.0, speed=99.0)
    drifting.speed_watched, drifting.speed_bare = [99.0, 49.5, 198.0], [100.0, 50.0, 200.0]
    assert drifting.speed_ratios == pytest.approx([0.99] * 3)
    assert "| 0.990 | 0.990 | 0.990 |" in report(drifting, "command")


def test_the_page_has_its_date_its_machine_and_its_command() -> None:
    page = report(figures(lag=0.005, gap=0.0, speed=99.0), "python -m loadtests.metrics_cost --rounds 2")
    assert page.startswith("# What metrics cost, 20")
    assert all(word in page for word in ("- processor: ", "--rounds 2", "tok/s", "pass", "- series: 700"))


def test_a_stripped_class_observes_nothing_and_renders() -> None:
    class Stripped(Metrics):
        pass

    strip(Stripped)
    metrics = Stripped(MODEL)
    before = {key: n for key, n in samples(metrics).items() if key[0].startswith("repartee_")}
    metrics.ready(READY)
    metrics.step(StepStats(sequences=1, tokens=1, running=1))
    metrics.inter_token(0.1, 1)
    metrics.sequence_finished("chat", FinishReason.STOP)
    metrics.observe_request(chat())
    metrics.http("/livez", "GET", 200)
    metrics.loop_lag(0.1)
    assert before == {key: n for key, n in samples(metrics).items() if key[0].startswith("repartee_")}
    assert Metrics.step is not Stripped.step
