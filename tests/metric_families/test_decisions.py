"""Decisions: counted by type and by position, and never by the clients' own words."""

import pytest

from app.metrics import Metrics
from app.observation import Decision
from tests.exposition import MODEL, chat, labels_of, samples, value


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(MODEL)


def decide(metrics: Metrics, *decisions: Decision, outcome: str = "ok") -> None:
    metrics.observe_request(
        chat(task="decision", stream=False, outcome=outcome, first_token=None, decisions=list(decisions))
    )


def test_each_answer_is_counted(metrics: Metrics) -> None:
    decide(
        metrics,
        Decision("predicate", 0.9, 0.8),
        Decision("choice", 0.4, 0.1, 2),
        Decision("label", 0.5, 1.0, 2),
    )
    counted = {
        kind: value(metrics, "decisions_total", type=kind)
        for kind in ("predicate", "choice", "score", "label")
    }
    assert counted == {"predicate": 1, "choice": 1, "score": 0, "label": 1}
    assert value(metrics, "decision_answers_total", position="2") == 2
    assert value(metrics, "decision_low_mass_total") == 1
    assert value(metrics, "decision_label_mass_sum") == pytest.approx(1.8)
    assert value(metrics, "decision_confidence_sum") == pytest.approx(1.9)


def test_positions_are_bounded(metrics: Metrics) -> None:
    decide(metrics, *(Decision("choice", 1.0, 1.0, position) for position in range(1, 256)))
    positions = {labels["position"] for labels in labels_of(metrics, "decision_answers_total")}
    assert positions == {*"12345678", "9+"}
    assert value(metrics, "decision_answers_total", position="8") == 1
    assert value(metrics, "decision_answers_total", position="9+") == 255 - 8


def test_what_the_client_did_not_get_is_no_answer(metrics: Metrics) -> None:
    before = sum(n for (name, _), n in samples(metrics).items() if name.startswith("repartee_decision"))
    decide(metrics, Decision("choice", 0.1, 0.1, 1), outcome="cancelled")
    assert before == sum(
        n for (name, _), n in samples(metrics).items() if name.startswith("repartee_decision")
    )
