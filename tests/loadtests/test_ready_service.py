"""A service for a measurement: ready with its settings, gone afterwards, and no wait for one that cannot start."""

import httpx
import psutil
import pytest

from loadtests.processes import ProcessFailed
from loadtests.ready_service import ready_service


def test_it_is_ready_with_its_settings_and_then_gone() -> None:
    with ready_service({"MODEL_NAME": "mine", "LOG_LEVEL": "error"}) as service:
        assert httpx.get(f"{service.url}/readyz").status_code == 200
        assert httpx.get(f"{service.url}/v1/models").json()["data"][0]["id"] == "mine"
    assert not psutil.pid_exists(service.process.process.pid)


def test_one_that_cannot_start_says_why() -> None:
    with pytest.raises(ProcessFailed, match="REPARTEE_DEVICE"), ready_service({"DEVICE": "abacus"}):
        pass
