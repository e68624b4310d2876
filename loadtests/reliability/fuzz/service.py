"""The real service that is tried: real engine, embedded model, keys, and small bounds so that it answers fast."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import psutil  # type: ignore[import-untyped]

from app.keys import new_key
from loadtests.processes import Running, free_port
from loadtests.ready_service import ready_service
from loadtests.reliability.fuzz.attempt import Site

MODEL = "repartee-support"
_SETTINGS = {
    "HOST": "127.0.0.1",
    "LOG_LEVEL": "warning",
    "MAX_MODEL_LEN": "512",
    "DEFAULT_MAX_TOKENS": "8",
    "REQUEST_TIMEOUT_SECONDS": "20",
    "MAX_WAITING": "4096",  # no request is refused for the company that it has by chance
    "DRAIN_DELAY_SECONDS": "0",
}
_SLOS = """
[[slo]]
name = "availability"
tasks = ["chat", "completion", "decision"]
objective = 0.999
"""
"""Without objectives of time nothing is refused for coming too late: tried is what is wrong, not much of it."""


@dataclass(frozen=True)
class Service:
    """A service that was ready."""

    site: Site
    running: Running

    @property
    def processes(self) -> tuple[int, ...]:
        """Ids of the API process, if it lives, and of its children."""
        try:
            process = psutil.Process(self.running.process.pid)
            family = [process, *process.children(recursive=True)]
            return tuple(one.pid for one in family if one.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return ()


@contextmanager
def fuzzed_service() -> Iterator[Service]:
    """Start it on a free loopback port, wait until it is ready, end it.

    Raises:
        ProcessFailed: it does not start.
    """
    port = free_port()
    with TemporaryDirectory(prefix="repartee-fuzz-") as directory:
        keys = Path(directory) / "keys.json"
        site = site_with_keys(port, MODEL, keys)
        slos = Path(directory) / "slos.toml"
        slos.write_text(_SLOS)
        settings = _SETTINGS | {"PORT": str(port), "API_KEYS_FILE": str(keys), "SLO_FILE": str(slos)}
        with ready_service(settings) as service:
            yield Service(site, service.process)


def site_with_keys(port: int, model: str, path: Path) -> Site:
    """A service on this port, for which the keys file at `path` is written."""
    key, full = new_key("full", "full", ("chat", "decide", "metrics"))
    narrow, decides = new_key("narrow", "narrow", ("decide",))
    limited, few = new_key("limited", "limited", ("chat", "decide"))
    few = msgspec.structs.replace(few, requests_per_second=1.0)
    path.write_bytes(msgspec.json.encode([full, decides, few]))
    return Site("127.0.0.1", port, model, key, narrow, limited)
