"""Processes that are measured: started one at a time, waited for, weighed, and ended by their own id."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil  # type: ignore[import-untyped]

_POLL_SECONDS = 0.02
_END_SECONDS = 15.0
_LOG_TAIL = 2000


class ProcessFailed(Exception):
    """The process ended, or did not answer in time; the message carries the end of its output."""


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def cores() -> int:
    """How many threads an engine gets that cannot choose by itself."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Running:
    """A live process.

    Attributes:
        started: `time.monotonic` just before it was started.
    """

    process: "subprocess.Popen[bytes]"
    started: float
    log: Path

    def wait_for(self, port: int, path: str, seconds: float) -> float:
        """Seconds from the start until GET `path` is answered with 200.

        Raises:
            ProcessFailed: it ended first, or took longer than `seconds`.
        """
        while time.monotonic() - self.started < seconds:
            if _answers(port, path):
                return time.monotonic() - self.started
            if self.process.poll() is not None:
                raise ProcessFailed(f"It ended with code {self.process.returncode}.\n{self.tail()}")
            time.sleep(_POLL_SECONDS)
        raise ProcessFailed(f"No {path} within {seconds:g} s.\n{self.tail()}")

    def wait(self, seconds: float) -> None:
        """Wait until it has ended by itself.

        Raises:
            ProcessFailed: it ended with another code than 0, or takes longer than `seconds`.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"It did not end within {seconds:g} s.\n{self.tail()}") from None
        if code:
            raise ProcessFailed(f"It ended with code {code}.\n{self.tail()}")

    def memory(self) -> tuple[int, int]:
        """Resident bytes of the process itself, and of its descendants."""
        own = psutil.Process(self.process.pid)
        children = 0
        for child in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                children += child.memory_info().rss
        return own.memory_info().rss, children

    def tail(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-_LOG_TAIL:]

    def printed_json(self) -> Any:
        """The last object that it printed as one line of JSON.

        Raises:
            ProcessFailed: it printed none.
        """
        for line in reversed(self.log.read_text(errors="replace").splitlines()):
            if line.startswith("{"):
                return json.loads(line)
        raise ProcessFailed(f"It printed no JSON.\n{self.tail()}")


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], stderr: int = subprocess.STDOUT
) -> Iterator[Running]:
    """Start a process beside the current environment's variables, and end it with its descendants.

    Args:
        stderr: descriptor of a sink for its standard error; by default that is kept with what it prints.
    """
    with TemporaryDirectory(prefix="repartee-bench-") as directory:
        log = Path(directory) / "log"
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=os.environ | dict(environment), stdout=output, stderr=stderr
            )
        try:
            yield Running(process, started, log)
        finally:
            _end(process)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the process, wait, then kill what is left of it and of its descendants."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()
