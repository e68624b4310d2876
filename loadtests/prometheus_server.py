"""A real Prometheus for tests and measurements: on a free loopback port, over data that vanish with it."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from loadtests.processes import Running, free_port, running

_POLL_SECONDS = 0.2
_START_SECONDS = 60.0


class ToolMissing(Exception):
    """A program that is not installed; the message names it and where it comes from."""


@dataclass(frozen=True)
class Sample:
    """One series of an instant vector, without `__name__` where the expression drops it."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class PrometheusServer:
    """A Prometheus that was ready."""

    url: str
    process: Running

    def query(self, expression: str) -> list[Sample]:
        """The instant vector (or the scalar, as one sample without labels) of an expression, now.

        Raises:
            ValueError: Prometheus refuses the expression; the message says why.
        """
        data = self.get("query", query=expression)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(series["metric"], float(series["value"][1])) for series in data["result"]]

    def wait_for(self, expression: str, seconds: float) -> list[Sample]:
        """What an expression gives, as soon as it gives a sample.

        Raises:
            TimeoutError: it gave none for so long.
        """
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if found := self.query(expression):
                return found
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(f"{expression} gave nothing within {seconds:g} s")

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of any endpoint below `/api/v1/`.

        Raises:
            ValueError: an error answer; the message is Prometheus' own.
        """
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        body = answer.json()
        if body["status"] != "success":
            raise ValueError(body["error"])
        return body["data"]


@contextmanager
def running_prometheus(
    config: Mapping[str, Any],
    *,
    files: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[PrometheusServer]:
    """Start Prometheus with a configuration, wait until it is ready, end it and drop its data.

    Args:
        config: the content of prometheus.yml; see `scrape` for the least.
        files: further files by name, beside prometheus.yml: `rule_files` may name them.
        arguments: further ones for the command line. Exemplars are kept without asking.

    Raises:
        ToolMissing: there is no Prometheus.
        ProcessFailed: it does not take the configuration, or is not ready in time.
    """
    program = tool("prometheus", "prometheus")
    port = free_port()
    with TemporaryDirectory(prefix="repartee-prometheus-") as name:
        folder = Path(name)
        for file, text in {**(files or {}), "prometheus.yml": json.dumps(config)}.items():
            (folder / file).write_text(text, encoding="utf-8")  # JSON is YAML
        command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            *arguments,
        ]
        with running(command, {}) as process:
            process.wait_for(port, "/-/ready", _START_SECONDS)
            yield PrometheusServer(f"http://127.0.0.1:{port}", process)


def scrape(target: str, interval: str = "1s") -> dict[str, Any]:
    """A configuration that scrapes one `host:port` as the job `repartee`, and evaluates rules, so often."""
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": [{"job_name": "repartee", "static_configs": [{"targets": [target]}]}],
    }


def tool(program: str, package: str) -> str:
    """Where an installed program lies.

    Raises:
        ToolMissing: nowhere.
    """
    if (found := shutil.which(program)) is None:
        raise ToolMissing(f"{program} is missing; it comes with the Debian package {package}")
    return found
