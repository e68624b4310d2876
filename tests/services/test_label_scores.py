import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.label_scores import (
    choice_confidence,
    expected_level,
    label_mass,
    score_confidence,
    softmax,
)

scores = st.lists(st.floats(-500, 0), min_size=2, max_size=20)


@given(scores, st.floats(0.1, 10))
def test_probabilities_sum_to_one_and_keep_the_order(values: list[float], temperature: float) -> None:
    probabilities = softmax(values, temperature)
    assert math.isclose(sum(probabilities), 1.0)
    assert probabilities[values.index(max(values))] == max(probabilities)


def test_temperature_flattens() -> None:
    assert softmax([math.log(0.8), math.log(0.2)]) == pytest.approx([0.8, 0.2])
    assert softmax([math.log(0.8), math.log(0.2)], 2.0) == pytest.approx([2 / 3, 1 / 3])


def test_label_mass_is_a_probability() -> None:
    assert label_mass([math.log(0.3), math.log(0.2)]) == pytest.approx(0.5)
    assert label_mass([0.0, 0.0]) == 1.0


def test_choice_confidence_is_the_distance_from_chance() -> None:
    assert choice_confidence([0.25] * 4) == 0.0
    assert choice_confidence([1.0, 0.0]) == 1.0
    assert choice_confidence([0.8, 0.2]) == pytest.approx(0.6)
    assert choice_confidence([1.0]) == 1.0


def test_score_confidence_falls_with_distance() -> None:
    near, far = score_confidence([0.5, 0.5, 0.0]), score_confidence([0.5, 0.0, 0.5])
    assert near == pytest.approx(1 - 0.5 / (2 / 3))
    assert far == 0.0
    assert score_confidence([0.0, 1.0, 0.0]) == 1.0
    assert score_confidence([1.0]) == 1.0


def test_expected_level() -> None:
    assert expected_level([0.1, 0.1, 0.8]) == pytest.approx(1.7)
