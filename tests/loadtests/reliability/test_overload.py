"""What the overload counts as a refusal, and what as a failure of what was let in."""

from app.bench.sample import Sample
from loadtests.reliability.overload import Phase, is_refusal, verdicts
from loadtests.reliability.refusal import AT_ONCE_SECONDS

BUSY = "Status 503: It would be answered too late."


def turned_away(total: float, lag: float = 0.0, error: str = BUSY) -> Phase:
    """A phase of ten good requests and one that was not served, which ended so long after it was due."""
    good = [Sample("label", "decision", 10.0, number / 10, 0.0, total=0.01) for number in range(10)]
    return Phase.of(
        "10 C",
        10.0,
        [*good, Sample("label", "decision", 10.0, 0.5, lag, "error", total=total, error=error)],
        1,
    )


def test_a_refusal_is_quick() -> None:
    for error in (BUSY, "Status 429: too many"):
        found = turned_away(0.02, error=error)
        assert (found.refusals, found.figures.failed) == ([0.02], 0)


def test_a_late_refusal_is_a_failure_of_what_was_let_in() -> None:
    late = turned_away(9.0)
    assert (late.refusals, late.figures.failed) == ([], 1)
    found = {name: met for name, _, _, met in verdicts(turned_away(0.02), late, turned_away(0.02), 10.0)}
    assert not found["let in and then failed"]


def test_the_clients_own_delay_is_not_the_servers() -> None:
    (sample,) = [one for one in turned_away(AT_ONCE_SECONDS + 0.5, lag=0.6).samples if one.error]
    assert is_refusal(sample)


def test_another_failure_is_no_refusal() -> None:
    assert turned_away(0.02, error="Status 500: no").figures.failed == 1
