"""The scrape configuration, and that of Alertmanager: taken by their own tools, and doing what they say."""

import re
import subprocess
from pathlib import Path

import pytest

from deploy.prometheus.generate import RULES
from tests.deploy.debian_tools import require
from tests.service.running_service import ROOT

PROMETHEUS = RULES.parent / "prometheus.yml"
ALERTMANAGER = ROOT / "deploy/alertmanager/alertmanager.yml"


def check(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)


def with_key(key_file: Path) -> str:
    """prometheus.yml with its example of a key in force."""
    text = PROMETHEUS.read_text().replace("/etc/prometheus/repartee-metrics-key", str(key_file))
    return re.sub(r"^(    )# (authorization:|  credentials_file:)", r"\1\2", text, flags=re.MULTILINE)


def test_promtool_takes_the_configuration() -> None:
    result = check(require("promtool", "prometheus"), "check", "config", PROMETHEUS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 rule files found" in result.stdout


def test_promtool_takes_the_example_of_a_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    config = tmp_path / "prometheus.yml"
    config.write_text(with_key(key).replace("rules/*.yml", f"{RULES}/*.yml"))
    assert f"    authorization:\n      credentials_file: {key}\n" in config.read_text()
    promtool = require("promtool", "prometheus")
    assert check(promtool, "check", "config", config).returncode == 1  # the file is not there
    key.write_text("sk-secret")
    result = check(promtool, "check", "config", config)
    assert result.returncode == 0, result.stdout + result.stderr


def test_amtool_takes_the_configuration() -> None:
    result = check(require("amtool", "prometheus-alertmanager"), "check-config", ALERTMANAGER)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["severity=page", "alertname=ReparteeDown"], "page"),
        (["severity=ticket"], "ticket"),
        (["severity=info"], "info"),
        (["severity=none", "alertname=ReparteeWatchdog"], "watchdog"),
        (["severity=mistyped"], "ticket"),
    ],
)
def test_an_alert_reaches_those_of_its_severity(labels: list[str], receiver: str) -> None:
    amtool = require("amtool", "prometheus-alertmanager")
    result = check(amtool, "config", "routes", "test", "--config.file", ALERTMANAGER, *labels)
    assert result.stdout.split() == [receiver]
