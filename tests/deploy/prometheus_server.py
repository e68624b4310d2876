"""The real Debian Prometheus for tests:

with running_prometheus(scrape("127.0.0.1:8000")) as prometheus:
    prometheus.wait_for("repartee_ready == 1", 10)
    samples = prometheus.query("rate(repartee_requests_total[1m])")
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from loadtests import prometheus_server
from loadtests.prometheus_server import PrometheusServer, Sample, scrape
from tests.deploy.debian_tools import require

__all__ = ["PrometheusServer", "Sample", "running_prometheus", "scrape"]


@contextmanager
def running_prometheus(
    config: Mapping[str, Any],
    *,
    files: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[PrometheusServer]:
    """`loadtests.prometheus_server.running_prometheus`; without Prometheus the test is skipped, in CI it fails."""
    require("prometheus", "prometheus")
    with prometheus_server.running_prometheus(config, files=files, arguments=arguments) as server:
        yield server
