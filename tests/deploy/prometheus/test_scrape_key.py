"""The shipped scrape configuration, its example of a key in force, against a service that asks for keys."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from tests.deploy.prometheus.test_config import with_key
from tests.deploy.prometheus_server import running_prometheus, scrape
from tests.service.running_service import ROOT, running_service

_SCRAPED_SECONDS = 30


def new_key(scope: str) -> tuple[str, dict[str, object]]:
    """A key, and its entry for the service's file."""
    command = [sys.executable, "-m", "app", "keys", "new", "--tenant", "ops", "--scope", scope]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    key, entry = made.stdout.splitlines()
    return key, json.loads(entry)


def test_only_a_key_with_the_scope_metrics_scrapes(tmp_path: Path) -> None:
    keys, entries = {}, []
    for scope in ("metrics", "chat"):
        keys[scope], entry = new_key(scope)
        (tmp_path / scope).write_text(keys[scope] + "\n")
        entries.append(entry)
    (tmp_path / "keys.json").write_text(json.dumps(entries))
    with running_service(api_keys_file=str(tmp_path / "keys.json"), log_level="error") as service:
        config = scrape(service.url.removeprefix("http://"))
        targets = config["scrape_configs"][0]["static_configs"]
        config["scrape_configs"] = [
            {
                "job_name": scope,
                "static_configs": targets,
                "authorization": yaml.safe_load(with_key(tmp_path / scope))["scrape_configs"][0][
                    "authorization"
                ],
            }
            for scope in keys
        ]
        with running_prometheus(config) as prometheus:
            prometheus.wait_for('up{job="metrics"} == 1 and repartee_ready', _SCRAPED_SECONDS)
            prometheus.wait_for('up{job="chat"} == 0', _SCRAPED_SECONDS)
            (refused,) = [
                target["lastError"]
                for target in prometheus.get("targets")["activeTargets"]
                if target["health"] == "down"
            ]
    assert "403" in refused
