"""What the compose files promise without being run; deploy/image runs them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import PREFIX, Settings
from tests.service.running_service import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OVERLAY: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PAGE = (ROOT / "docs/deployment.md").read_text()
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
REPLICAS = ("repartee", "repartee-2")


def test_mounts_are_files_that_exist_or_volumes_that_are_named() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = [mount for mount in mounts if mount.startswith("./")]
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert {mount for mount in mounts if not mount.startswith("./")} == set(COMPOSE["volumes"])


def test_files_are_mounted_where_they_cannot_be_changed() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert all(mount.endswith(":ro") for mount in mounts if mount.startswith("./"))


def test_ports_are_published_on_loopback_only_each_with_a_variable_of_its_own() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    chosen = [re.fullmatch(r"127\.0\.0\.1:\$\{([A-Z]+_PORT):-(\d+)\}:(\d+)", port) for port in ports]
    assert len(ports) == 5
    assert all(chosen)
    assert len({found[1] for found in chosen if found}) == len({found[2] for found in chosen if found}) == 5


def test_images_from_elsewhere_are_pinned_and_named_in_full() -> None:
    images = {service["image"] for service in SERVICES.values()} - {"repartee"}
    assert len(images) == 4
    assert all(re.fullmatch(r"docker\.io/[a-z-]+/[a-z]+:v?\d+\.\d+\.\d+", image) for image in images)


@pytest.mark.parametrize("file", [COMPOSE, OVERLAY], ids=["docker-compose.yml", "docker-compose.gpu.yml"])
def test_only_settings_that_exist_are_set(file: dict[str, Any]) -> None:
    names = [name for service in file["services"].values() for name in service.get("environment", {})]
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert {name for name in names if name.startswith(PREFIX)} <= known


def test_no_service_of_the_overlay_is_new() -> None:
    assert set(OVERLAY["services"]) <= set(SERVICES)


def test_no_service_waits_for_the_health_of_another() -> None:
    assert not any("depends_on" in service for service in SERVICES.values())


def test_the_gpu_is_reserved_for_each_replica_and_the_target_is_the_one_with_cuda() -> None:
    assert SERVICES["repartee"]["build"]["target"] == "cpu"
    assert OVERLAY["services"]["repartee"]["build"]["target"] == "cuda"
    for name in REPLICAS:
        (device,) = OVERLAY["services"][name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_only_one_service_builds_the_image_that_all_of_them_run() -> None:
    for file in (COMPOSE, OVERLAY):
        assert [name for name, service in file["services"].items() if "build" in service] == ["repartee"]
        assert len({file["services"][name]["image"] for name in (*REPLICAS, "load")}) == 1


def _merged(under: Any, over: Any) -> Any:
    """Two compose files as compose lays one over the other: mappings key by key, lists one behind the other."""
    if isinstance(under, dict) and isinstance(over, dict):
        both = {name: _merged(under[name], over[name]) for name in under.keys() & over.keys()}
        return under | over | both
    return [*under, *over] if isinstance(under, list) else over


def test_the_documented_overlay_closes_every_replica() -> None:
    (snippet,) = re.findall(r"```yaml\n(# docker-compose\.keys\.yml.*?)```", PAGE, re.DOTALL)
    services = _merged(COMPOSE, yaml.safe_load(snippet))["services"]
    assert services.keys() == SERVICES.keys()
    servers = [
        service
        for service in services.values()
        if service["image"] == "repartee" and "entrypoint" not in service
    ]
    assert len(servers) == len(REPLICAS)
    for server in servers:
        assert server["environment"]["REPARTEE_ALLOW_OPEN"] == "false"
        assert server["environment"]["REPARTEE_API_KEYS_FILE"] == "/run/keys/keys.json"
        assert "./keys:/run/keys:ro" in server["volumes"]
        assert "model-cache:/cache" in server["volumes"]
    (file,) = re.findall(
        r"# +credentials_file: (\S+)", (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    )
    assert f"./metrics-key:{file}:ro" in services["prometheus"]["volumes"]


def test_replicas_are_equal_and_confined() -> None:
    first, second = (SERVICES[name] for name in REPLICAS)
    assert {key: value for key, value in first.items() if key not in ("build", "ports")} == {
        key: value for key, value in second.items() if key != "profiles"
    }
    assert first["read_only"] and first["cap_drop"] == ["ALL"]
    assert all("no-new-privileges:true" in service["security_opt"] for service in SERVICES.values())


def test_a_stop_waits_longer_than_the_service_drains() -> None:
    grace = int(SERVICES["repartee"]["stop_grace_period"].removesuffix("s"))
    fields = Settings.model_fields
    assert grace > fields["drain_delay_seconds"].default + fields["drain_seconds"].default


def test_the_documented_upgrade_leaves_a_replica_alone_until_the_router_has_the_other(tmp_path: Path) -> None:
    (commands,) = re.findall(r"```sh\n(docker compose --profile scale build.*?)```", PAGE, re.DOTALL)
    programs = {
        "docker": 'echo "$*" >> calls',
        "curl": "echo asked >> calls; head -1 counts; sed -i 1d counts",
        "sleep": "",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "counts").write_text("1\n1\n2\n1\n2\n")
    path = f"{tmp_path}:/usr/bin:/bin"
    subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env={"PATH": path}, timeout=60, check=True)
    calls = [call.rpartition(" ")[2] for call in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ["repartee", "repartee-2", "asked", "asked", "asked", "repartee", "asked", "asked"]
    assert re.findall(r"http://127\.0\.0\.1:\d+(/\w+)", commands) == ["/replicas"]
    router = (ROOT / "deploy/router/haproxy.cfg").read_text()
    assert "if { path /replicas }" in router
    assert re.findall(r"^ +server (\S+)", router, re.MULTILINE) == list(REPLICAS)


def test_prometheus_scrapes_every_replica() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["repartee:8000"]}]
    (found,) = job["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["repartee-2"], 8000)
    assert SERVICES["repartee"]["ports"][0].endswith(":8000")


def test_prometheus_finds_its_rules_and_the_alertmanager() -> None:
    mounted = dict(mount.split(":")[:2] for mount in SERVICES["prometheus"]["volumes"])
    assert mounted["./deploy/prometheus/prometheus.yml"] == "/etc/prometheus/prometheus.yml"
    assert mounted["./deploy/prometheus/rules"] == "/etc/prometheus/rules"
    assert PROMETHEUS["rule_files"] == ["rules/*.yml"]
    (manager,) = PROMETHEUS["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["alertmanager:9093"]}]


def test_grafana_reads_the_dashboards_where_they_are_mounted() -> None:
    grafana = SERVICES["grafana"]
    mounted = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/repartee.yml").read_text())
    (path,) = [entry["options"]["path"] for entry in provider["providers"]]
    assert mounted["./deploy/grafana/dashboards"] == path
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "deploy/grafana/dashboards" / home.removeprefix(f"{path}/")).exists()
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert [entry["url"] for entry in source["datasources"]] == ["http://prometheus:9090"]


def test_grafana_has_no_administrator_whose_password_everybody_knows() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert (
        environment["GF_AUTH_DISABLE_LOGIN_FORM"]
        == environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"]
        == "true"
    )
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
