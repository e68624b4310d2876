"""What `kubectl kustomize` makes of the folders, without a cluster and without a network."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KUBECTL = str(Path(sys.executable).with_name("kubectl"))
"""Of the development lock: Debian's is too old for components."""
ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
COMPONENTS = sorted(path.name for path in (FOLDER / "components").iterdir())
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())


class NotRendered(Exception):
    """kubectl refused the folder; the message is its own."""


def kustomize(folder: Path) -> list[Object]:
    """The objects of a folder with a kustomization.

    Raises:
        NotRendered: as said.
    """
    command = [KUBECTL, "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or done.stderr:  # what is deprecated is a warning there
        raise NotRendered(done.stderr)
    return list(yaml.safe_load_all(done.stdout))


def with_components(folder: Path, *components: str) -> list[Object]:
    """The base with some components; `folder` is an empty one to put the kustomization in.

    Raises:
        NotRendered: see `kustomize`.
    """
    here = os.path.relpath(FOLDER, folder.resolve())
    wanted = {
        "resources": [f"{here}/base"],
        "components": [f"{here}/components/{component}" for component in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    return kustomize(folder)


@cache
def _overlay(name: str) -> str:
    return yaml.safe_dump_all(kustomize(FOLDER / "overlays" / name))


def overlay(name: str) -> list[Object]:
    """The objects of an overlay, free to be changed."""
    return list(yaml.safe_load_all(_overlay(name)))


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """The objects of this kind."""
    return [found for found in objects if found["kind"] == kind]


def named(objects: list[Object], kind: str, name: str = "repartee") -> Object:
    """The one object of this kind and name; a generated name may go on with the hash of its content."""
    whole = re.compile(re.escape(name) + "(-[a-z0-9]{10})?")
    (found,) = [found for found in of_kind(objects, kind) if whole.fullmatch(found["metadata"]["name"])]
    return found


def pod(objects: list[Object], deployment: str = "repartee") -> Object:
    """The pod's spec of a Deployment."""
    spec: Object = named(objects, "Deployment", deployment)["spec"]["template"]["spec"]
    return spec


def container(objects: list[Object], deployment: str = "repartee") -> Object:
    """The one container of a Deployment."""
    (only,) = pod(objects, deployment)["containers"]
    found: Object = only
    return found


def settings(objects: list[Object]) -> dict[str, str]:
    """The variables of the service."""
    found: dict[str, str] = named(objects, "ConfigMap", "repartee-settings")["data"]
    return found
