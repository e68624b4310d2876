"""The service under test: with keys, little room, a log that can be blocked, and a wall clock that can jump."""

import asyncio
import fcntl
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import msgspec
import psutil  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from app.bench.http_stream import Connections, post
from app.keys import new_key
from loadtests.processes import Running, free_port, running
from loadtests.reliability.chaos.clock_jump import ClockJump
from loadtests.reliability.chaos.rules import Counted

GOOD, CROWD, LEAVERS, SCRAPER = "good", "crowd", "leavers", "ops"
"""Who must be served; who asks too much, or nonsense; who goes away, or reads nothing; who reads the metrics."""
MAX_WAITING = 32
MAX_RUNNING = 16
WRITE_STALL_SECONDS = 2
DRAIN_DELAY_SECONDS = 1
DRAIN_SECONDS = 8
_START_SECONDS = 120.0
_PIPE_BYTES = 4096
_LOOK_MS = 50


class LogSink:
    """The reading end of a service's log: reads all, or nothing for a while, or is closed."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # soon full, where nobody reads
        self._flows = threading.Event()
        self._flows.set()
        self._reads = threading.Lock()
        """A pipe whose end is closed while somebody reads there goes on taking what is written."""
        self._is_gone = False
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def block(self) -> None:
        """Read nothing until `flow`."""
        self._flows.clear()

    def flow(self) -> None:
        """Read on."""
        self._flows.set()

    def break_off(self) -> None:
        """Close it: what is written from now on has nobody to go to."""
        self.block()
        with self._reads:
            self._is_gone = True
            os.close(self._reading)

    def _read(self) -> None:
        rest, written = b"", select.poll()
        written.register(self._reading, select.POLLIN)
        while True:
            self._flows.wait()
            with self._reads:
                if self._is_gone:
                    return
                if not written.poll(_LOOK_MS):
                    continue
                piece = os.read(self._reading, 65536)
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            self.lines += [line.decode(errors="replace") for line in lines if _is_bad(line)]


def _is_bad(line: bytes) -> bool:
    """Whether a line tells of something that nobody foresaw."""
    return b"Traceback" in line or b"unhandled error" in line or b"never retrieved" in line


@dataclass
class Subject:
    """A service that was ready.

    Attributes:
        base: its address, with `/v1` at its end.
        keys: by tenant.
        sink: of its log; None where that goes nowhere.
        clock: None where nothing could be compiled.
    """

    running: Running
    port: int
    keys: Mapping[str, str]
    sink: LogSink | None
    clock: ClockJump | None
    api: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self.api = psutil.Process(self.running.process.pid)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def engine(self) -> psutil.Process | None:
        """The engine process, while there is one that lives."""
        with suppress(psutil.NoSuchProcess):
            for child in self.api.children():
                if child.status() != psutil.STATUS_ZOMBIE:
                    return child
        return None

    def connect(self, tenant: str) -> Connections:
        """For the requests of a tenant."""
        return Connections(self.keys[tenant])

    async def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample by its name and labels.

        Raises:
            RequestFailed, OSError: there is no answer.
        """
        with Connections(self.keys[SCRAPER]) as connections:
            body = await post(f"http://127.0.0.1:{self.port}/metrics", None, connections)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }

    async def counted(self, tenant: str) -> Counted:
        """What it has counted for a tenant."""
        requests, tokens = dict[str, int](), 0
        for (name, labels), value in (await self.metrics()).items():
            told = dict(labels)
            if told.get("tenant") != tenant:
                continue
            if name == "repartee_tenant_requests_total":
                requests[told["outcome"]] = int(value)
            if name == "repartee_tenant_tokens_total" and told["type"] == "generated":
                tokens = int(value)
        return Counted(requests, tokens)

    async def held(self) -> dict[str, float]:
        """What the engine's gauges still hold, by name; empty where all was given back."""
        names = ("running_requests", "queue_requests", "kv_cache_usage_ratio")
        wanted = {f"repartee_{name}" for name in names}
        return {
            name: value for (name, _), value in (await self.metrics()).items() if name in wanted and value
        }

    async def wait_idle(self, seconds: float) -> dict[str, float]:
        """Wait until nothing is held any more; what still is after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.held():
                    await asyncio.sleep(0.05)
        return await self.held()


@contextmanager
def subject(
    *, full_log: bool = False, module: str = "app", variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Subject]:
    """Start a service and wait until it is ready; end it.

    Args:
        full_log: its log goes to a device that is always full.
        module: that is run.
        variables: beside the settings, or in place of them.

    Raises:
        ProcessFailed: it does not start.
    """
    with TemporaryDirectory(prefix="repartee-chaos-") as directory:
        keys = _write_keys(Path(directory) / "keys.json")
        try:
            clock = ClockJump(Path(directory))
        except (FileNotFoundError, subprocess.CalledProcessError):
            clock = None
        sink = None if full_log else LogSink()
        writing = os.open("/dev/full", os.O_WRONLY) if sink is None else sink.writing
        port = free_port()
        settings = {
            "PORT": str(port),
            "HOST": "127.0.0.1",
            "API_KEYS_FILE": str(Path(directory) / "keys.json"),
            "THREADS": "1",
            "KV_CACHE_TOKENS": "32768",
            "MAX_WAITING": str(MAX_WAITING),
            "MAX_RUNNING": str(MAX_RUNNING),
            "WRITE_STALL_SECONDS": str(WRITE_STALL_SECONDS),
            "DRAIN_DELAY_SECONDS": str(DRAIN_DELAY_SECONDS),
            "DRAIN_SECONDS": str(DRAIN_SECONDS),
            "LOG_FORMAT": "json",
        }
        environment = {f"REPARTEE_{name}": value for name, value in settings.items()}
        environment |= (clock.environment if clock else {}) | dict(variables)
        try:
            with running([sys.executable, "-m", module], environment, stderr=writing) as service:
                os.close(writing)
                writing = -1
                service.wait_for(port, "/readyz", _START_SECONDS)
                yield Subject(service, port, keys, sink, clock)
        finally:
            if writing >= 0:
                os.close(writing)


def _write_keys(path: Path) -> dict[str, str]:
    """A key each for the tenants and for the scraper, by name."""
    made = {tenant: new_key(tenant) for tenant in (GOOD, CROWD, LEAVERS)}
    made[SCRAPER] = new_key(SCRAPER, scopes=["metrics"])
    path.write_bytes(msgspec.json.encode([entry for _, entry in made.values()]))
    return {tenant: key for tenant, (key, _) in made.items()}
