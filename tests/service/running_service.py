"""A real service: `python -m app` in a process of its own, with a real engine process below it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from openai import OpenAI

ROOT = Path(__file__).resolve().parents[2]
MODEL = "repartee-support"
_START_SECONDS = 120


@dataclass(frozen=True)
class Service:
    """A service that was ready.

    Attributes:
        process: its API process.
        openai: OpenAI's own client for it, without retries.
    """

    url: str
    process: subprocess.Popen[bytes]
    openai: OpenAI

    @property
    def engine_process(self) -> int:
        """Process id of the engine, the only child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (engine,) = [int(child) for child in children]
        return engine

    def hold_engine(self) -> None:
        """Suspend the engine, so that what runs goes on running until `release_engine`."""
        os.kill(self.engine_process, signal.SIGSTOP)

    def release_engine(self) -> None:
        """Let a suspended engine go on."""
        os.kill(self.engine_process, signal.SIGCONT)

    def sample(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric whose labels include `labels`; there must be one."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = []
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(label in head for label in wanted):
                found.append(float(value))
        assert found, f"no sample of {name} with {labels}"
        return sum(found)

    def begin_end(self, sig: int = signal.SIGTERM) -> None:
        """Send a signal and wait until the service says that it is not ready."""
        self.process.send_signal(sig)
        while self.readiness() == 200:
            time.sleep(0.01)

    def wait_ready(self) -> None:
        """Wait until `/readyz` answers 200."""
        limit = time.monotonic() + _START_SECONDS
        while time.monotonic() < limit:
            assert self.process.poll() is None, "the service ended"
            if self.readiness() == 200:
                return
            time.sleep(0.1)
        raise AssertionError("the service was not ready in time")

    def readiness(self) -> int:
        """Status of `/readyz`; 0 while nothing listens."""
        try:
            return httpx.get(f"{self.url}/readyz").status_code
        except httpx.TransportError:
            return 0


@contextmanager
def running_service(
    *, stderr: int | None = None, before: Sequence[str] = (), module: str = "app", **settings: str
) -> Iterator[Service]:
    """Start a service with `REPARTEE_*` settings (lower case names), wait until it is ready, end it.

    Args:
        stderr: where its log goes, as `subprocess.Popen` wants it.
        before: a command that becomes the service, which stands behind it.
        module: what is run, if not the service as it is.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {"port": str(port), "threads": "1", "drain_delay_seconds": "0"} | settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REPARTEE_")}
    environment |= {f"REPARTEE_{name.upper()}": value for name, value in values.items()}
    command = [*before, sys.executable, "-m", module]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=stderr)
    url = f"http://127.0.0.1:{port}"
    client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)
    service = Service(url, process, client)
    try:
        service.wait_ready()
        yield service
    finally:
        client.close()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
