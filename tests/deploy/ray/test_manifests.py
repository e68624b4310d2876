"""The files for clusters: they parse as those who read them parse them, and agree with the code and each other."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema

from app.settings import Settings, load_settings
from deploy.ray import application, environment
from tests.deploy.debian_tools import require
from tests.deploy.ray.cluster import ROOT

FOLDER = ROOT / "deploy" / "ray"
KUBERNETES = "1.37"
RAY = Path(sys.executable).with_name("ray")


@pytest.fixture(scope="module")
def serve_config() -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(yaml.safe_load((FOLDER / "serve.yaml").read_text()))


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / "rayservice.yaml").read_text()))


def pods(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods that KubeRay makes: the head's, then the workers'."""
    cluster = documents[0]["spec"]["rayClusterConfig"]
    return [
        cluster["headGroupSpec"]["template"],
        *(group["template"] for group in cluster["workerGroupSpecs"]),
    ]


def test_the_serve_config_names_what_there_is(
    serve_config: ServeDeploySchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wanted,) = serve_config.applications
    assert (wanted.name, wanted.import_path) == (application.NAME, "deploy.ray.application:build")
    assert [deployment.name for deployment in wanted.deployments] == [application.DEPLOYMENT]
    assert isinstance(application.build(application.Arguments(**wanted.args)), Application)
    for name, value in wanted.runtime_env["env_vars"].items():
        monkeypatch.setenv(name, value)
    assert str(load_settings().api_keys_file) == "/etc/repartee/keys.json"


def test_an_argument_that_nobody_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="replicas"):
        application.Arguments.model_validate({"replicas": 2})


def test_the_deployment_fits_the_limits_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "7")
    settings = Settings(max_waiting=500, max_running=100, request_timeout_seconds=300)
    made = application.deployment(settings)
    assert made.max_ongoing_requests > settings.max_waiting + settings.max_running
    assert made._deployment_config.graceful_shutdown_timeout_s == 307


def test_kubernetes_gets_the_same_serve_config(documents: list[dict[str, Any]]) -> None:
    embedded = yaml.safe_load(documents[0]["spec"]["serveConfigV2"])
    assert embedded == yaml.safe_load((FOLDER / "serve.yaml").read_text())


def test_every_node_has_the_environment(documents: list[dict[str, Any]]) -> None:
    for pod in pods(documents):
        found = {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"]}
        assert environment.VARIABLES.items() <= found.items()
        assert pod["spec"]["enableServiceLinks"] is False


def test_the_manifest_is_of_the_locked_ray(documents: list[dict[str, Any]]) -> None:
    lock = (ROOT / "requirements" / "scale.txt").read_text()
    locked = re.search(r"^ray==(\S+)", lock, re.MULTILINE)
    assert locked and documents[0]["spec"]["rayClusterConfig"]["rayVersion"] == locked[1]


def test_a_worker_has_room_for_one_replica_and_time_for_its_streams(documents: list[dict[str, Any]]) -> None:
    cluster = documents[0]["spec"]["rayClusterConfig"]
    (wanted,) = yaml.safe_load(documents[0]["spec"]["serveConfigV2"])["applications"][0]["deployments"]
    (workers,) = cluster["workerGroupSpecs"]
    assert int(workers["rayStartParams"]["num-cpus"]) == wanted["ray_actor_options"]["num_cpus"]
    assert workers["maxReplicas"] >= wanted["autoscaling_config"]["max_replicas"]
    longest = application.deployment(Settings())._deployment_config.graceful_shutdown_timeout_s
    draining = float(environment.VARIABLES["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert longest < draining
    assert all(pod["spec"]["terminationGracePeriodSeconds"] > draining for pod in pods(documents))
    assert documents[0]["spec"]["rayClusterDeletionDelaySeconds"] > longest


def test_only_who_has_the_token_may_run_code(documents: list[dict[str, Any]]) -> None:
    assert documents[0]["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


def test_no_node_starts_without_a_token_from_the_documented_shell(tmp_path: Path) -> None:
    """Ray by itself would go on without one. A node that joins leaves no cluster behind."""
    shell = (
        f'eval "$("{sys.executable}" -m deploy.ray.environment)"; exec "{RAY}" start --address=127.0.0.1:1'
    )
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "RAY_TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", shell],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "no authentication token was found" in done.stderr


def test_keys_are_where_the_settings_look(documents: list[dict[str, Any]]) -> None:
    for pod in pods(documents):
        (container,) = pod["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["keys"] == "/etc/repartee"


def test_kubernetes_accepts_pods_and_policy(documents: list[dict[str, Any]]) -> None:
    for pod in pods(documents):
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": pod["spec"]}
        kubernetes_validate.validate(whole, KUBERNETES, strict=True)
    kubernetes_validate.validate(documents[1], KUBERNETES, strict=True)


def test_kubectl_reads_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [rayservice.yaml]\n")
    (tmp_path / "rayservice.yaml").write_text((FOLDER / "rayservice.yaml").read_text())
    command = [Path(sys.executable).with_name("kubectl"), "kustomize", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(done.stdout)]
    assert sorted(kinds) == ["NetworkPolicy", "RayService"]


def test_prometheus_accepts_its_configuration() -> None:
    command = [require("promtool", "prometheus"), "check", "config", str(FOLDER / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rule files found" in done.stdout


def test_prometheus_alerts_as_without_ray() -> None:
    ours, usual = (
        yaml.safe_load((ROOT / "deploy" / folder / "prometheus.yml").read_text())
        for folder in ("ray", "prometheus")
    )
    assert ours["global"] == usual["global"]
    assert ours["alerting"]["alertmanagers"]


def test_hadolint_has_no_complaint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [hadolint, FOLDER / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_environment_of_a_shell() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "deploy.ray.environment"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    script = f'{printed}\nprintf %s "$RAY_SERVE_HAPROXY_BALANCE_ALGORITHM"'
    value = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert value == environment.VARIABLES["RAY_SERVE_HAPROXY_BALANCE_ALGORITHM"]
