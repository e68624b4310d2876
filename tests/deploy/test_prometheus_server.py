"""The helper itself: a Prometheus that scrapes itself."""

import pytest

from loadtests.processes import ProcessFailed, free_port
from tests.deploy.prometheus_server import PrometheusServer, running_prometheus, scrape

RULES = """
groups:
  - name: test
    rules:
      - alert: Always
        expr: vector(7)
"""


def test_it_scrapes_and_evaluates() -> None:
    config = scrape(f"127.0.0.1:{free_port()}", "200ms") | {"rule_files": ["rules.yml"]}
    with running_prometheus(config, files={"rules.yml": RULES}) as prometheus:
        (up,) = prometheus.wait_for("up", 20)
        assert (up.labels["job"], up.value) == ("repartee", 0.0)
        prometheus.wait_for('ALERTS{alertname="Always",alertstate="firing"}', 20)
        assert prometheus.firing() == {"Always"}
        assert [sample.value for sample in prometheus.query("1 + 1")] == [2.0]
        _refuses(prometheus)
    assert prometheus.process.process.poll() is not None


def _refuses(prometheus: PrometheusServer) -> None:
    with pytest.raises(ValueError, match="parse error"):
        prometheus.query("rate(")
    with pytest.raises(TimeoutError, match="nothing_like_this"):
        prometheus.wait_for("nothing_like_this", 0.1)


def test_a_configuration_that_it_refuses_is_told() -> None:
    with pytest.raises(ProcessFailed, match="not_a_field"), running_prometheus({"not_a_field": 1}):
        pass
