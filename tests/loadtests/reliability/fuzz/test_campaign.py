"""A campaign finds what is wrong: faults are planted in a service that is well, and each is seen."""

from functools import partial
from pathlib import Path

import pytest

from loadtests.reliability.fuzz.campaign import SHARES, campaign
from loadtests.reliability.fuzz.report import known_keys, render, save
from tests.loadtests.reliability.fuzz import planted
from tests.loadtests.reliability.fuzz.planted import Planted, serving

pytestmark = pytest.mark.anyio

PATIENT = 60.0
"""The service shares its process with the maker of the inputs here, which keeps it from its probes."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.reliability.fuzz.ledger._SETTLE_SECONDS", 0.3)


async def test_nothing_is_wrong_with_a_service_that_is_well(tmp_path: Path) -> None:
    async with serving(tmp_path, Planted) as site:
        result = await campaign(site, seed=1, inputs=100, probe_seconds=PATIENT)
    assert set(result.inputs) == set(SHARES) and result.inputs.total() == 100
    assert not result.failed, render(result, {}, "", save(result, site, tmp_path))
    assert result.good.asked and result.probes.asked
    assert "Nothing was wrong" in render(result, {}, "", [])


async def test_each_planted_fault_is_found(tmp_path: Path) -> None:
    by_path = {
        "/v1/classify": planted.echoes,
        "/detokenize": planted.fails,
        "/v1/decisions": planted.closes,
        "/v1/chat/completions": planted.never_done,
        "/v1/completions": planted.never_done,
        "/v1/systemone": planted.nameless,
        "/tokenize": planted.undocumented,
        "/metrics": planted.unbalanced,
        "/startupz": planted.not_ready,
    }
    plant = partial(Planted, by_path=by_path, good=planted.Drifting())
    async with serving(tmp_path, plant) as site:
        result = await campaign(site, seed=1, inputs=300, probe_seconds=PATIENT)
    for kind in (
        *("status 500", "an error repeats what the client wrote", "the answer has no end", "no x-request-id"),
        *("a stream that just ends", "an error of another shape"),
    ):
        assert result.kinds[kind], (kind, result.kinds)
    assert result.good.faults == ["another answer than before"] * len(result.good.faults) != []
    assert "/startupz: 503" in result.probes.faults and all("503" in fault for fault in result.probes.faults)
    assert result.faults == ["repartee_running_requests is 1.0", "repartee_engine_restarts_total is 1"]
    saved = save(result, site, tmp_path / "found")
    report = render(result, {}, "", saved)
    assert "Something was wrong" in report and all(str(path) in report for path in saved[:1])
    (attempt,) = [failure.attempt for failure in result.failures[:1]]
    assert site.key.encode() not in saved[0].read_bytes()
    assert known_keys(saved[0].read_bytes(), site) == attempt.data
