"""CoreSharing: the policy of the thread that asks, and of no other."""

import os
from threading import Thread

import pytest

from app.engine.core_sharing import CoreSharing

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no such policy")


def policy_of_a_thread(*yields: bool, usual: int | None = None) -> int:
    """The policy that a thread has after it was told so, which had another by itself."""
    found = []

    def run() -> None:
        if usual is not None:
            os.sched_setscheduler(0, usual, os.sched_param(0))
        sharing = CoreSharing()
        for one in yields:
            sharing.let_engine_finish(one)
        found.append(os.sched_getscheduler(0))

    thread = Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_yields_and_takes_it_back() -> None:
    before = os.sched_getscheduler(0)
    assert policy_of_a_thread(True) == os.SCHED_BATCH
    assert policy_of_a_thread(True, True) == os.SCHED_BATCH
    assert policy_of_a_thread(True, False) == os.SCHED_OTHER
    assert policy_of_a_thread(True, False, usual=os.SCHED_BATCH) == os.SCHED_BATCH  # its operator's
    assert policy_of_a_thread(True, usual=os.SCHED_IDLE) == os.SCHED_IDLE
    assert os.sched_getscheduler(0) == before


@pytest.mark.parametrize("call", ["sched_setscheduler", "sched_getscheduler"])
def test_where_it_is_forbidden_all_stays_as_it_is(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    found = os.sched_getscheduler
    monkeypatch.setattr(os, call, forbidden)
    CoreSharing().let_engine_finish(True)
    assert found(0) == os.SCHED_OTHER


def test_a_system_without_the_policy_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "SCHED_BATCH")
    assert policy_of_a_thread(True) == os.SCHED_OTHER
