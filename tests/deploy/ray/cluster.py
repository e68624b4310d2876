"""Real replicas: `python -m deploy.ray` in a process of its own, and every process below it."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil  # type: ignore[import-untyped]

from loadtests.processes import free_port
from loadtests.ray_cluster import private_environment

ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 120
_END_SECONDS = 60
_ATTEMPTS = 2
"""Ray sometimes does not come up seconds after another cluster ended."""


@dataclass(frozen=True)
class Cluster:
    """A cluster whose replicas were ready.

    Attributes:
        process: `python -m deploy.ray`; everything else is below it.
        http: a client with the key of the tests.
    """

    process: psutil.Popen
    http: httpx.Client
    log: Path

    def replicas(self) -> dict[str, str]:
        """Address of each replica by its id, as the service tells it to Prometheus."""
        groups = self.http.get("/metrics/replicas").raise_for_status().json()
        return {group["labels"]["replica"]: group["targets"][0] for group in groups}

    def sample(self, address: str, name: str, **labels: str) -> float:
        """Sum of a replica's samples of a metric whose labels include `labels`."""
        lines = self.http.get(f"http://{address}/metrics").raise_for_status().text.splitlines()
        heads = [(line.rpartition(" ")[0], line.rpartition(" ")[2]) for line in lines]
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(value)
            for head, value in heads
            if head.split("{")[0] == name and all(label in head for label in wanted)
        )

    def replica_processes(self) -> list[psutil.Process]:
        """The replicas' processes, each with its engine below it."""
        return [found for found in self.process.children(recursive=True) if "ServeReplica" in _title(found)]

    @contextmanager
    def engines_held(self) -> Iterator[None]:
        """Suspend all engines, so that what runs goes on running for a while."""
        engines = [engine for replica in self.replica_processes() for engine in replica.children()]
        for engine in engines:
            engine.suspend()
        try:
            yield
        finally:
            for engine in engines:
                engine.resume()


@contextmanager
def running_cluster(
    *arguments: str, key: str = "", environment: dict[str, str] | None = None, **settings: str
) -> Iterator[Cluster]:
    """Start replicas with `REPARTEE_*` settings (lower case names), wait until they are ready, end every process."""
    with TemporaryDirectory(
        prefix="rp-", ignore_cleanup_errors=True
    ) as name:  # short: sockets have short names
        folder = Path(name)
        for _ in range(_ATTEMPTS):
            process, url = _start(folder, arguments, settings, environment or {})
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            # A kept connection would stay with an HAProxy that has been replaced, and with its list of replicas.
            limits = httpx.Limits(max_keepalive_connections=0)
            client = httpx.Client(base_url=url, headers=headers, timeout=60, limits=limits)
            with client, _ended(process):
                cluster = Cluster(process, client, folder / "log")
                if _ready(cluster):
                    yield cluster
                    return
        raise AssertionError((folder / "log").read_text()[-4000:])


def _start(
    folder: Path, arguments: tuple[str, ...], settings: dict[str, str], environment: dict[str, str]
) -> tuple[psutil.Popen, str]:
    port = free_port()
    values = {"port": str(port), "threads": "1"} | settings
    own = {name: value for name, value in os.environ.items() if not name.startswith(("REPARTEE_", "RAY_"))}
    own |= {f"REPARTEE_{name.upper()}": value for name, value in values.items()}
    own |= private_environment(folder) | environment
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "deploy.ray", *arguments]
        process = psutil.Popen(command, cwd=ROOT, env=own, stdout=log, stderr=log)
    return process, f"http://127.0.0.1:{port}"


def _ready(cluster: Cluster) -> bool:
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit and cluster.process.poll() is None:
        with suppress(httpx.TransportError):
            if b"is ready" in cluster.log.read_bytes() and cluster.http.get("/readyz").status_code == 200:
                return True
        time.sleep(0.2)
    return False


@contextmanager
def _ended(process: psutil.Popen) -> Iterator[None]:
    """Ask the process to end, then see to it that nothing below it is left; nothing is ended by its name."""
    try:
        yield
    finally:
        family = process.children(recursive=True) if process.poll() is None else []
        if process.poll() is None:
            process.terminate()
            with suppress(psutil.TimeoutExpired):
                process.wait(_END_SECONDS)
        for left in [process, *family]:
            with suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
