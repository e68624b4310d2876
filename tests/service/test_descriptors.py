"""A service whose descriptors are all taken: it lives, does not spin, and serves again when some are free."""

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from tests.service.running_service import MODEL, Service, running_service

SOFT, HARD = 64, 128
WITH_FEW = ("sh", "-c", f'ulimit -Sn {SOFT}; ulimit -Hn {HARD}; exec "$0" "$@"')
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service(before=WITH_FEW, header_seconds="600", idle_seconds="600") as running:
        yield running


@contextmanager
def flood(service: Service, connections: int) -> Iterator[None]:
    """So many connections that say nothing."""
    host, port = service.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(connections):
            stack.enter_context(socket.create_connection((host, int(port))))
        yield


def open_descriptors(service: Service) -> int:
    return len(os.listdir(f"/proc/{service.process.pid}/fd"))


def assert_idle(service: Service) -> None:
    """It does not try to accept again and again."""
    assert service.process.poll() is None
    before = sum(psutil.Process(service.process.pid).cpu_times()[:2])
    time.sleep(1)
    assert sum(psutil.Process(service.process.pid).cpu_times()[:2]) - before < 0.3


def test_the_limit_is_raised_as_far_as_it_goes(service: Service) -> None:
    assert resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE) == (HARD, HARD)


def test_a_flood_of_connections_leaves_the_others_metrics_and_a_new_engine(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        assert client.get("/readyz").status_code == 200  # on a connection that stays
        with flood(service, 2 * HARD):
            assert_idle(service)
            assert SOFT < open_descriptors(service) < HARD
            assert service.readiness() in (0, 503)  # a stranger is told so, or his connection ends
            assert client.get("/metrics").status_code == 200
            os.kill(service.engine_process, signal.SIGKILL)
            while client.get("/readyz").status_code == 200:
                time.sleep(0.01)
            while client.get("/readyz").status_code != 200:
                assert service.process.poll() is None
                time.sleep(0.1)
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    service.wait_ready()


def test_without_any_descriptor_it_lives_and_serves_again(service: Service) -> None:
    service.wait_ready()
    with httpx.Client(base_url=service.url, timeout=60) as client:
        assert client.get("/readyz").status_code == 200
        full = open_descriptors(service)
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (full, HARD))
        try:
            with flood(service, 50):
                assert_idle(service)
                assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
        finally:
            resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (HARD, HARD))
    service.wait_ready()
    assert httpx.post(f"{service.url}/v1/chat/completions", json=CHAT, timeout=60).status_code == 200
