"""The objects agree with each other, with the service and with its image; and each check can fail."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kubernetes import agreement
from tests.deploy.kubernetes.rendering import (
    FOLDER,
    OVERLAYS,
    ROOT,
    Object,
    container,
    kustomize,
    named,
    overlay,
    pod,
    settings,
)

ADAPTER = FOLDER / "components" / "hpa" / "adapter-values.yaml"
PAGE = ROOT / "docs" / "deployment-kubernetes.md"


def problems(objects: list[Object], *, page: str | None = None) -> list[str]:
    """All that is wrong."""
    unread = list(agreement.wrong_settings(objects))
    if unread:  # the other checks could not read them either
        return unread
    adapter = yaml.safe_load(ADAPTER.read_text())
    return [
        *(problem for check in agreement.CHECKS for problem in check(objects)),
        *agreement.wrong_metrics(objects, adapter),
        *agreement.wrong_references(objects, PAGE.read_text() if page is None else page),
    ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_agrees(name: str) -> None:
    assert problems(overlay(name)) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_copy_of_an_overlay_with_the_documented_image_agrees(name: str, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```yaml\n(images:.*?)```", PAGE.read_text(), re.DOTALL)
    here = os.path.relpath(FOLDER, tmp_path.resolve())
    text = (FOLDER / "overlays" / name / "kustomization.yaml").read_text().replace("../..", here)
    (tmp_path / "kustomization.yaml").write_text(f"{text}\n{snippet}")
    objects = kustomize(tmp_path)
    assert problems(objects) == []
    assert container(objects)["image"].startswith("registry.example.org/repartee:0.1.0")


def _put(find: Callable[[list[Object]], Any], *path: str | int, value: Any) -> Callable[[list[Object]], None]:
    """A change of one field."""

    def change(objects: list[Object]) -> None:
        part = find(objects)
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = value

    return change


def _of(kind: str, name: str = "repartee") -> Callable[[list[Object]], Any]:
    return lambda objects: named(objects, kind, name)


def _without(find: Callable[[list[Object]], Any], key: str) -> Callable[[list[Object]], None]:
    return lambda objects: find(objects).pop(key)


def _in_picker(old: str, new: str) -> Callable[[list[Object]], None]:
    def change(objects: list[Object]) -> None:
        data = named(objects, "ConfigMap", "repartee-picker")["data"]
        assert old in data["picker-config.yaml"]
        data["picker-config.yaml"] = data["picker-config.yaml"].replace(old, new)

    return change


OTHER = {"app.kubernetes.io/name": "other"}
CHANGES = [
    (_put(settings, "REPARTEE_DRAIN_SECOND", value="1"), "REPARTEE_DRAIN_SECOND is not a setting"),
    (_put(settings, "REPARTEE_DRAIN_SECONDS", value="soon"), "REPARTEE_DRAIN_SECONDS: "),
    (_put(settings, "HF_OFFLINE", value="1"), "nobody reads HF_OFFLINE"),
    (_put(settings, "REPARTEE_API_KEYS_FILE", value="/keys.json"), "nothing is mounted at /keys.json"),
    (_put(settings, "REPARTEE_MODEL", value="/elsewhere"), "nothing is mounted at /elsewhere"),
    (_without(settings, "REPARTEE_API_KEYS_FILE"), "the service is open"),
    (_put(container, "volumeMounts", value=[]), "/cache cannot be written to"),
    (_put(container, "ports", 0, "containerPort", value=80), "the image listens on another port"),
    (
        _put(container, "readinessProbe", "httpGet", "path", value="/ready"),
        "readinessProbe: the service has no /ready",
    ),
    (
        _put(container, "livenessProbe", "httpGet", "port", value="web"),
        "livenessProbe: the container has no port web",
    ),
    (_without(container, "livenessProbe"), "livenessProbe: the service has no None"),
    (_put(container, "startupProbe", "failureThreshold", value=999), "the rollout gives up"),
    (_put(_of("Service"), "spec", "ports", 0, "targetPort", value="web"), "no container has the port web"),
    (_put(_of("NetworkPolicy"), "spec", "ingress", 0, "ports", 0, "port", value="web"), "NetworkPolicy: no"),
    (
        _put(_of("ServiceMonitor"), "spec", "endpoints", 0, "port", value="web"),
        "ServiceMonitor: the Service has no",
    ),
    (
        _put(_of("ServiceMonitor"), "spec", "endpoints", 0, "path", value="/m"),
        "ServiceMonitor: the service has no /m",
    ),
    (_put(_of("ServiceMonitor"), "spec", "jobLabel", value="none"), "ask for another job"),
    (_put(_of("InferencePool"), "spec", "targetPorts", 0, "number", value=1), "InferencePool: no container"),
    (
        _put(_of("InferencePool"), "spec", "endpointPickerRef", "port", "number", value=1),
        "picker has no such port",
    ),
    (
        _put(_of("HTTPRoute"), "spec", "rules", 0, "matches", 0, "path", "value", value="/v2"),
        "nothing below /v2",
    ),
    (_put(_of("Service"), "spec", "selector", value=OTHER), "Service repartee selects"),
    (_put(_of("Deployment"), "spec", "selector", "matchLabels", value=OTHER), "Deployment repartee selects"),
    (
        _put(_of("PodDisruptionBudget"), "spec", "selector", "matchLabels", value=OTHER),
        "PodDisruptionBudget repartee",
    ),
    (
        _put(_of("NetworkPolicy"), "spec", "podSelector", "matchLabels", value={}),
        "NetworkPolicy repartee selects",
    ),
    (
        _put(_of("InferencePool"), "spec", "selector", "matchLabels", value=OTHER),
        "InferencePool repartee selects",
    ),
    (
        _put(pod, "topologySpreadConstraints", 0, "labelSelector", "matchLabels", value=OTHER),
        "topologySpreadConstraints repartee",
    ),
    (_put(_of("ServiceMonitor"), "spec", "selector", "matchLabels", value=OTHER), "ServiceMonitor selects"),
    (_put(pod, "terminationGracePeriodSeconds", value=139), "a replica is killed before the 140 s"),
    (_without(pod, "terminationGracePeriodSeconds"), "a replica is killed before"),
    (_put(container, "lifecycle", value={"preStop": {"sleep": {"seconds": 60}}}), "before the 200 s"),
    (_put(settings, "REPARTEE_DRAIN_DELAY_SECONDS", value="60"), "a replica is killed before"),
    (_put(settings, "REPARTEE_DRAIN_DELAY_SECONDS", value="1"), "before a probe has seen"),
    (_put(settings, "REPARTEE_DRAIN_SECONDS", value="30"), "the drain is shorter"),
    (
        _put(_of("HTTPRoute"), "spec", "rules", 0, "timeouts", "request", value="30s"),
        "the route ends streams",
    ),
    (
        _put(
            _of("ScaledObject"),
            "spec",
            "triggers",
            0,
            "metadata",
            "query",
            value='sum(no_metric{job="repartee"})',
        ),
        "does not export no_metric",
    ),
    (
        _put(
            _of("ScaledObject"),
            "spec",
            "triggers",
            0,
            "metadata",
            "query",
            value="sum(repartee_queue_requests)",
        ),
        "the query is of every job",
    ),
    (_in_picker("repartee_kv_cache_usage_ratio", "repartee_kv_usage"), "does not export repartee_kv_usage"),
    (
        _in_picker("cacheNumBlocksLabelName: num_blocks", "cacheNumBlocksLabelName: blocks"),
        "no label ['blocks']",
    ),
    (_in_picker("pluginRef: queue-scorer", "pluginRef: other-scorer"), "no plugin other-scorer"),
    (_in_picker("path: /metrics", "path: /m"), "metrics where there are none"),
    (_in_picker("name: repartee\n", "name: vllm\n"), "does not know the engine of the pods"),
    (_in_picker("defaultEngine: repartee", "defaultEngine: vllm"), "default engine is none of its own"),
    (
        _put(lambda objects: container(objects, "repartee-picker"), "args", value=[]),
        "the picker lacks --pool-name",
    ),
    (
        _put(_of("Service", "repartee-picker"), "spec", "ports", 0, "appProtocol", value="kubernetes.io/h2c"),
        "the picker speaks TLS",
    ),
    (_put(settings, "REPARTEE_METRICS_WITHOUT_KEY", value="false"), "the picker sends no key"),
    (_put(settings, "REPARTEE_DEVICE", value="cuda"), "the device is cuda, the image repartee:0.1.0"),
    (_put(pod, "securityContext", "runAsUser", value=1000), "another user than the image's"),
    (_put(pod, "securityContext", "runAsNonRoot", value=False), "repartee could be root"),
    (_put(container, "securityContext", "capabilities", value={}), "repartee could change its own files"),
    (_put(pod, "serviceAccountName", value="nobody"), "there is no ServiceAccount nobody"),
    (_put(container, "envFrom", 0, "configMapRef", "name", value="none"), "there is no ConfigMap none"),
    (
        _put(pod, "volumes", 0, value={"name": "keys", "secret": {"secretName": "none"}}),
        "there is no Secret none",
    ),
    (
        _put(
            _of("ServiceMonitor"), "spec", "endpoints", 0, "authorization", "credentials", "name", value="x"
        ),
        "Secret x",
    ),
    (_put(_of("ScaledObject"), "spec", "scaleTargetRef", "name", value="x"), "there is no Deployment x"),
    (
        _put(_of("HTTPRoute"), "spec", "rules", 0, "backendRefs", 0, "name", value="x"),
        "there is no InferencePool x",
    ),
    (
        _put(_of("RoleBinding", "repartee-picker"), "subjects", 0, "name", value="x"),
        "there is no ServiceAccount x",
    ),
    (_put(_of("Deployment"), "spec", "replicas", value=2), "each apply sets back"),
]


@pytest.mark.parametrize(("change", "told"), CHANGES, ids=[told for _, told in CHANGES])
def test_a_change_that_would_break_it_is_told(change: Callable[[list[Object]], None], told: str) -> None:
    objects = overlay("gateway")
    change(objects)
    assert any(told in problem for problem in problems(objects))


def test_what_the_autoscaler_of_kubernetes_asks_for_is_exported_and_served() -> None:
    objects = overlay("cpu")
    metric = named(objects, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["metric"]
    metric["name"] = "repartee_waiting"
    found = problems(objects)
    assert "the service does not export repartee_waiting" in found
    assert "adapter-values.yaml does not serve repartee_waiting" in found


def test_what_no_page_tells_to_make_is_told() -> None:
    found = problems(overlay("gpu"), page="")
    for missing in (
        "Secret repartee-keys",
        "Secret repartee-metrics-key",
        "PersistentVolumeClaim repartee-models",
    ):
        assert f"there is no {missing}" in found
