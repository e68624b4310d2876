"""Leaks are told from noise: planted ones are found, and series without any are left alone."""

import random

import pytest

from loadtests.reliability.trend import Allowed, leak, slope, tau

MEMORY = Allowed(4.0, 0.02)
COUNT = Allowed(0.5)


def noisy(grows: float, noise: float = 3.0, count: int = 30, base: float = 120.0) -> list[float]:
    """Readings around a line, the same each time."""
    chooser = random.Random(7)
    return [base + grows * number + chooser.gauss(0, noise) for number in range(count)]


@pytest.mark.parametrize("grows", [0.3, 1.0, 10.0])
def test_a_steady_growth_is_found_beneath_noise(grows: float) -> None:
    found = leak(noisy(grows), MEMORY)
    assert found is not None and "rises by" in found


@pytest.mark.parametrize("seed", range(20))
def test_noise_without_growth_is_no_leak(seed: int) -> None:
    chooser = random.Random(seed)
    assert leak([120 + chooser.gauss(0, 3) for _ in range(30)], MEMORY) is None


@pytest.mark.parametrize(
    "values",
    [
        [120.0, 180.0, *[121.0] * 10],  # an outlier
        [121.0] * 10 + [180.0, 120.0],
        [120.0, 119.0, 118.0, 117.0, 116.0, 115.0],
        [120.0] * 30,
        [120.0 + 0.05 * number for number in range(30)],  # a page now and then
        [120.0],
        [120.0, 121.0],
    ],
)
def test_what_comes_back_or_stays_is_no_leak(values: list[float]) -> None:
    assert leak(values, MEMORY) is None


def test_a_step_that_never_comes_back_is_found_however_few_the_readings() -> None:
    assert leak([120.0] * 15 + [160.0] * 15, MEMORY) is not None
    assert leak([120.0, 160.0], MEMORY) == "does not come back: 40 more"


@pytest.mark.parametrize(
    "values", [[23.0, 24, 25, 26, 27], [23.0] * 4 + [24.0] * 3 + [25.0] * 3, [23.0, 25.0]]
)
def test_a_descriptor_now_and_then_is_found(values: list[float]) -> None:
    assert leak(values, COUNT) is not None


def test_one_that_comes_and_goes_is_none() -> None:
    assert leak([23.0, 24, 23, 24, 23, 23, 24, 23], COUNT) is None


def test_slope_and_tau() -> None:
    assert slope([1.0, 3.0, 5.0, 100.0]) == pytest.approx(17.0, abs=16.0)
    assert slope([1.0, 3.0, 5.0]) == 2.0
    assert (tau([1.0, 2.0, 3.0]), tau([3.0, 2.0, 1.0]), tau([1.0, 1.0])) == (1.0, -1.0, 0.0)
