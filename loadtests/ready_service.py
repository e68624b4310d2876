"""The service as a measurement starts it: on a free port of this machine, and waited for."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.settings import PREFIX
from loadtests.processes import Running, free_port, running

START_SECONDS = 180.0


@dataclass(frozen=True)
class ReadyService:
    """A service that was ready.

    Attributes:
        process: its API process.
        port: on loopback.
    """

    process: Running
    port: int

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def ready_service(
    settings: Mapping[str, str],
    command: Sequence[str] = ("app",),
    environment: Mapping[str, str] | None = None,
) -> Iterator[ReadyService]:
    """Start it, wait until it is ready, and end it.

    Args:
        settings: by their names without the prefix. Without `PORT` a free one is taken.
        command: the module, and its arguments.
        environment: variables beside the settings.

    Raises:
        ProcessFailed: it does not start.
    """
    port = int(settings.get("PORT", 0)) or free_port()
    values = {f"{PREFIX}{name}": value for name, value in ({"HOST": "127.0.0.1"} | dict(settings)).items()}
    values[f"{PREFIX}PORT"] = str(port)
    with running([sys.executable, "-m", *command], dict(environment or {}) | values) as process:
        process.wait_for(port, "/readyz", START_SECONDS)
        yield ReadyService(process, port)
