"""Every folder renders, and what comes out is what Kubernetes and the operators take."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from pydantic import ValidationError

from tests.deploy.kubernetes import custom_resources
from tests.deploy.kubernetes.rendering import (
    COMPONENTS,
    FOLDER,
    OVERLAYS,
    NotRendered,
    Object,
    kustomize,
    named,
    of_kind,
    overlay,
    pod,
    with_components,
)

OLDEST, NEWEST = "1.27", "1.37"
"""The versions of Kubernetes that the manifests are for."""
WHOLE_ANNOTATION = 262_144
"""Bytes of an object that `kubectl apply` can note down in an annotation."""


def check(objects: list[Object]) -> None:
    """Built-in kinds against the schemas of Kubernetes, others against the fields that we know."""
    for found in objects:
        if (found["apiVersion"], found["kind"]) in custom_resources.SPECS:
            custom_resources.check(found)
        else:
            for version in (OLDEST, NEWEST):
                kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_is_valid(name: str) -> None:
    check(overlay(name))


def test_the_base_needs_no_operator() -> None:
    objects = kustomize(FOLDER / "base")
    check(objects)
    assert not [found for found in objects if "." in found["apiVersion"].removesuffix(".k8s.io/v1")]


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_is_valid_by_itself(component: str, tmp_path: Path) -> None:
    check(with_components(tmp_path, component))


@pytest.mark.parametrize("component", COMPONENTS)
def test_no_component_is_left_out_of_the_overlays(component: str) -> None:
    used = [
        yaml.safe_load((FOLDER / "overlays" / name / "kustomization.yaml").read_text()) for name in OVERLAYS
    ]
    assert any(f"../../components/{component}" in wanted["components"] for wanted in used)


def test_a_folder_that_names_no_file_is_not_rendered(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [nothing.yaml]\n")
    with pytest.raises(NotRendered, match=r"nothing\.yaml"):
        kustomize(tmp_path)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    objects = overlay("cpu")
    pod(objects)["terminationGraceSeconds"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGraceSeconds"):
        check(objects)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("ServiceMonitor", ["spec", "endpoints", 0]),
        ("PrometheusRule", ["spec", "groups", 0, "rules", 0]),
        ("ScaledObject", ["spec", "triggers", 0, "metadata"]),
        ("InferencePool", ["spec", "endpointPickerRef"]),
        ("HTTPRoute", ["spec", "rules", 0]),
    ],
)
def test_a_field_that_no_operator_knows_is_found(kind: str, path: list[Any]) -> None:
    objects = overlay("gateway")
    part = named(objects, kind)
    for step in path:
        part = part[step]
    part["misspelt"] = "x"
    with pytest.raises(ValidationError, match="misspelt"):
        check(objects)


def test_another_version_of_a_custom_resource_is_found() -> None:
    objects = overlay("gateway")
    named(objects, "InferencePool")["apiVersion"] = "inference.networking.x-k8s.io/v1alpha2"
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        check(objects)


def test_each_dashboard_is_a_config_map_of_its_own() -> None:
    maps = [
        found
        for found in of_kind(overlay("cpu"), "ConfigMap")
        if found["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
    ]
    made = {path.name for path in (FOLDER.parent / "grafana" / "dashboards").glob("*.json")}
    assert {name for found in maps for name in found["data"]} == made
    assert all(len(json.dumps(found)) < WHOLE_ANNOTATION for found in maps)
