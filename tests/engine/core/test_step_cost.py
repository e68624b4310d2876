"""StepCost: what is found from measured steps, for each number of sequences and each kind of step apart."""

import random

import pytest

from app.engine.core.step_cost import StepCost


def test_nothing_is_known_before_the_first_measurement_of_its_kind() -> None:
    cost = StepCost()
    cost.measured(2, 0, 10, 1.0, burst=True)
    assert cost.of(1, 10, burst=True) is None and cost.of(2, 10, burst=False) is None
    assert cost.of(2, 10, burst=True) is not None


def test_the_first_guess_is_that_a_row_costs_half_of_a_sequence() -> None:
    cost = StepCost()
    for _ in range(5):
        cost.measured(4, 0, 100, 8.0, burst=True)
    assert cost.of(4, 100, burst=True) == (pytest.approx(8.0), pytest.approx(1.0))


@pytest.mark.parametrize("row", [0.0, 0.3, 2.0])
def test_the_cost_of_a_row_is_found(row: float) -> None:
    cost, chooser = StepCost(), random.Random(1)
    for _ in range(200):
        rows = chooser.choice([0, 0, 3, 8])
        cost.measured(1, rows, 0, (5.0 + row * rows) * chooser.uniform(0.95, 1.05), burst=True)
    found = cost.of(1, 0, burst=True)
    assert found is not None and found == (pytest.approx(5.0, rel=0.1), pytest.approx(row, abs=0.15))


def test_attention_to_a_long_context_is_not_laid_at_the_door_of_drafts_that_come_late() -> None:
    """Each sequence reads its 500 to 1,000 tokens at each of its rows, and only from the middle on are there drafts."""
    cost, chooser = StepCost(), random.Random(2)
    for step in range(200):
        tokens = 4 * (500 + 5 * (step % 100))
        rows = chooser.choice([0, 4, 8]) if step % 100 > 50 else 0
        attended = tokens * (1 + rows / 4) / 1000
        cost.measured(
            4, rows, tokens, (1.0 + 0.1 * rows + 0.5 * attended) * chooser.uniform(0.98, 1.02), burst=True
        )
    for length in (500, 1000):
        base, row = cost.of(4, 4 * length, burst=True) or (0.0, 0.0)
        assert base == pytest.approx(1.0 + 0.5 * 4 * length / 1000, rel=0.1)
        assert row == pytest.approx(0.1 + 0.5 * length / 1000, rel=0.15)


def test_one_step_that_was_held_up_changes_little() -> None:
    cost = StepCost()
    for number in range(60):
        cost.measured(1, number % 4, 50, 1.0 + 0.1 * (number % 4), burst=True)
    cost.measured(1, 3, 50, 500.0, burst=True)
    base, row = cost.of(1, 50, burst=True) or (0.0, 0.0)
    assert base == pytest.approx(1.0, abs=0.1) and row == pytest.approx(0.1, abs=0.1)


def test_the_past_fades() -> None:
    cost = StepCost()
    for row in (1.0, 0.1):
        for number in range(300):
            cost.measured(1, number % 4, 0, 1.0 + row * (number % 4), burst=True)
    assert cost.of(1, 0, burst=True) == (pytest.approx(1.0, rel=0.1), pytest.approx(0.1, rel=0.2))


def test_a_context_far_from_all_that_was_measured_has_no_negative_cost() -> None:
    cost = StepCost()
    for tokens in range(3000, 3050):
        cost.measured(2, 0, tokens, 1.0 + (tokens - 3000) / 10, burst=True)
    base, row = cost.of(2, 0, burst=True) or (-1.0, -1.0)
    assert base >= 0.0 and row >= 0.0


def test_what_is_around_bursts_and_single_steps_is_kept_apart() -> None:
    cost = StepCost()
    cost.called(3, 1.0, burst=True)
    cost.called(3, 5.0, burst=False)
    assert cost.around(3, burst=True) == 1.0 and cost.around(3, burst=False) == 5.0
    assert cost.around(4, burst=True) == 0.0
