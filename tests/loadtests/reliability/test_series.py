"""The number of series under random requests, with a real service; and that one more series fails the run."""

import random
from collections import Counter

import pytest

from loadtests.reliability import series
from loadtests.reliability.series import Run, drive, gates_of, request


def test_random_methods_paths_and_models_make_no_series() -> None:
    run = drive(requests=900, seed=5)
    assert run.answers.total() == 900
    assert {gate.name: gate.verdict for gate in gates_of(run)} == {
        gate.name: "pass" for gate in gates_of(run)
    }
    assert set(run.answers) >= {200, 400, 404, 405}


def test_requests_differ_in_method_path_and_model() -> None:
    chooser = random.Random(1)
    made = [request(chooser) for _ in range(2000)]
    assert len({method for method, _ in made}) > 300
    assert len({message.split(b" ")[1] for _, message in made}) > 1000
    assert any(b'"model"' in message for _, message in made)


@pytest.mark.parametrize(
    ("counts", "answers", "code"),
    [
        ((700, 710, 710), {404: 10}, 0),
        ((700, 710, 711), {404: 10}, 1),
        ((700, 1710, 1710), {404: 10}, 1),
        ((700, 710, 710), {404: 1000, 500: 1}, 1),
        ((700, 710, 710), {404: 10, 0: 10}, 1),
    ],
)
def test_one_series_more_is_seen(
    counts: tuple[int, ...], answers: dict[int, int], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(list(enumerate(counts)), Counter(answers))
    monkeypatch.setattr(series, "drive", lambda *_: run)
    assert series.main([]) == code
