"""Shapes of a load are read, or refused in one line."""

import pytest

from app.bench.loops import constant
from loadtests.stages import InvalidStages, Stage, arrivals, parse_stages


def test_steps_and_sweeps() -> None:
    assert parse_stages("4,8", "", 5) == [Stage(4, 5), Stage(8, 5)]
    assert [stage.load for stage in parse_stages("", "2:32:5", 5)] == pytest.approx([2, 4, 8, 16, 32])


@pytest.mark.parametrize(
    ("steps", "sweep", "seconds"),
    [
        ("", "", 5),
        ("1", "1:2:2", 5),
        ("a", "", 5),
        ("0", "", 5),
        ("", "1:2:1", 5),
        ("", "1:2", 5),
        ("1", "", 0),
    ],
)
def test_nonsense_is_refused(steps: str, sweep: str, seconds: float) -> None:
    with pytest.raises(InvalidStages):
        parse_stages(steps, sweep, seconds)


def test_arrivals_follow_the_stages() -> None:
    assert list(arrivals([Stage(2, 1), Stage(4, 0.5)], constant)) == [(0, 2), (0.5, 2), (1, 4), (1.25, 4)]
