"""StepCost: the line through what was measured, for each number of sequences apart."""

import random

import pytest

from app.engine.core.step_cost import StepCost


def test_nothing_is_known_before_the_first_measurement() -> None:
    cost = StepCost()
    cost.measured(2, 0, 1.0)
    assert cost.of(1) is None and cost.of(2) is not None


def test_the_first_guess_is_that_a_row_costs_half_of_a_sequence() -> None:
    cost = StepCost()
    for _ in range(5):
        cost.measured(4, 0, 8.0)
    assert cost.of(4) == (pytest.approx(8.0), pytest.approx(1.0))


@pytest.mark.parametrize("row", [0.0, 0.3, 2.0])
def test_the_line_is_found(row: float) -> None:
    cost, chooser = StepCost(), random.Random(1)
    for _ in range(200):
        rows = chooser.choice([0, 0, 3, 8])
        cost.measured(1, rows, (5.0 + row * rows) * chooser.uniform(0.95, 1.05))
    found = cost.of(1)
    assert found is not None and found == (pytest.approx(5.0, rel=0.1), pytest.approx(row, abs=0.15))


def test_one_step_that_was_held_up_changes_little() -> None:
    cost = StepCost()
    for number in range(60):
        cost.measured(1, number % 4, 1.0 + 0.1 * (number % 4))
    cost.measured(1, 3, 500.0)
    base, row = cost.of(1) or (0.0, 0.0)
    assert base == pytest.approx(1.0, abs=0.1) and row == pytest.approx(0.1, abs=0.1)


def test_the_past_fades() -> None:
    cost = StepCost()
    for number in range(300):
        cost.measured(1, number % 4, 1.0 + 1.0 * (number % 4))
    for number in range(300):
        cost.measured(1, number % 4, 1.0 + 0.1 * (number % 4))
    assert cost.of(1) == (pytest.approx(1.0, rel=0.1), pytest.approx(0.1, rel=0.2))
