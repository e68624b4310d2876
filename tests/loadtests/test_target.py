"""A client apart from the service: each has its half of the cores, and all is as before afterwards."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import pytest

from loadtests import target
from loadtests.processes import Running
from loadtests.ready_service import ReadyService


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_the_service_has_the_first_half_of_the_cores_and_the_client_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, seen = os.sched_getaffinity(0), list[set[int]]()

    @contextmanager
    def service(settings: Mapping[str, str]) -> Iterator[ReadyService]:
        seen.append(os.sched_getaffinity(0))  # a process has those of the thread that starts it
        yield ReadyService(cast("Running", None), 9)

    monkeypatch.setattr(target, "ready_service", service)
    monkeypatch.setattr(target, "_answering", lambda base: target.Target(base, "m"))
    with target.target(None, apart=True):
        seen.append(os.sched_getaffinity(0))
    theirs, ours = seen
    assert theirs and ours and max(theirs) < min(ours) and theirs | ours == before
    with target.target(None):
        assert os.sched_getaffinity(0) == before
    assert seen[2] == before


def test_what_cannot_be_parted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(target.Refused, match="started here"), target.target("http://127.0.0.1:9", apart=True):
        pass
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    with pytest.raises(target.Refused, match="two cores"), target.target(None, apart=True):
        pass
