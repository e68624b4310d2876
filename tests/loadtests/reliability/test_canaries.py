"""Canaries: a real service keeps them to itself, and the search finds them where they are."""

from collections import Counter

import pytest

from loadtests.reliability import canaries
from loadtests.reliability.canaries import CASES, Run, drive, find, gates_of
from loadtests.reliability.canary_requests import PERSONAL, WAYS, WORD
from loadtests.reliability.canary_requests import canaries as make


def test_no_canary_comes_out_of_a_real_service_whichever_way_a_request_ends() -> None:
    settings = CASES["debug level, JSON, traces"]
    run = drive(settings, requests=2 * len(WAYS), seed=3)
    assert set(run.statuses) == set(WAYS)
    assert run.surprises() == []
    assert all(sum(map(len, written)) > 1000 for written in run.sources.values())
    assert run.found() == {place: set() for place in run.sources}


def test_canaries_are_of_every_kind_and_all_different() -> None:
    made = list(make(seed=1, count=500))
    assert len({canary for _, canary in made}) == 500
    assert {kind for kind, _ in made} == {WORD, *PERSONAL}


@pytest.mark.parametrize(
    "written", ["a line with Canary-7 in it", '{"x": "canary-7"}', "\x08\x12canary-7\x1a"]
)
def test_the_search_finds_a_canary(written: str) -> None:
    assert find(["canary-7", "other"], [b"nothing", written.encode()]) == {"canary-7"}


def test_one_canary_one_surprise_or_an_empty_log_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(log: bytes, status: int) -> Run:
        sources = {"logs": [log], "errors": [b"." * 1000]}
        return Run({"chat": Counter([status])}, sources, {"canary-7": WORD})

    for log, status, code in (
        (b"." * 1000, 200, 0),
        (b"." * 1000 + b"canary-7", 200, 1),
        (b"." * 1000, 500, 1),
        (b"", 200, 1),
    ):
        case = run(log, status)
        assert any(gate.verdict != "pass" for gate in gates_of({"case": case})) == bool(code)
        monkeypatch.setattr(canaries, "drive", lambda *_, case=case: case)
        assert canaries.main([]) == code
    assert "What was wrong" in capsys.readouterr().out
