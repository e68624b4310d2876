"""The manifests of deploy/kubernetes/base as pods of podman: the Deployment comes up, its probes and its keys work."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml  # type: ignore[import-untyped]

from app.keys import new_key
from deploy.image.clients import stream, wait_until_ready
from deploy.image.containers import Containers
from deploy.image.findings import Findings, require
from deploy.image.tools import run
from loadtests.processes import free_port

BASE = Path("deploy/kubernetes/base")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_UP_SECONDS = 120.0
_PLAYED = {"Deployment", "ConfigMap"}
"""What podman knows of the kinds that there are."""
KEYS = "repartee-keys"
"""The Secret that an operator brings."""


def check_kube(containers: Containers, root: Path, image: str, work: Path, findings: Findings) -> None:
    """Play the manifests, ask every probe, and stream a completion with a key.

    Raises:
        CheckFailed, NotReady, CommandFailed: what is not as it should be.
    """
    if shutil.which("kubectl") is None:
        findings.add("play kube", "skipped: kubectl is missing (Debian package kubernetes-client)")
        return
    rendered = run(["kubectl", "kustomize", str(root / BASE)], seconds=60)
    key, entry = new_key("image-test")
    port = free_port()
    documents = playable(
        list(yaml.safe_load_all(rendered)), image, port, msgspec.json.encode([entry]).decode()
    )
    manifest = work / "played.yaml"
    manifest.touch(mode=0o600)
    manifest.write_text(yaml.safe_dump_all(documents))
    container = next(document for document in documents if document["kind"] == "Deployment")["spec"][
        "template"
    ]["spec"]["containers"][0]
    url = f"http://127.0.0.1:{port}"
    try:
        asked = time.monotonic()
        containers.podman("play", "kube", str(manifest))
        ready = wait_until_ready(url + container["readinessProbe"]["httpGet"]["path"], _UP_SECONDS)
        findings.add("play kube: the Deployment's `/readyz`, s", f"{ready - asked:.1f}")
        paths = [container[probe]["httpGet"]["path"] for probe in PROBES]
        answers = {path: httpx.get(url + path, timeout=10).status_code for path in paths}
        require(set(answers.values()) == {200}, f"probes: {answers}")
        findings.add("play kube: probes", f"{', '.join(paths)}: 200")
        _check_confinement(containers, container["name"], findings)
        refused = httpx.get(f"{url}/v1/models", timeout=10).status_code
        answer = stream(url, headers={"authorization": f"Bearer {key}"})
        require(
            refused == 401 and answer.outcome == "whole",
            f"without a key {refused}, with one {answer.outcome}",
        )
        findings.add("play kube: keys", "401 without one; a stream with one ends with [DONE]")
    except Exception as error:
        for name in containers.podman("ps", "--all", "--format", "{{.Names}}").split():
            error.add_note(f"{name}\n{containers.logs(name)}")
        raise
    finally:
        containers.clear(images=False)


def _check_confinement(containers: Containers, name: str, findings: Findings) -> None:
    (found,) = [
        one for one in containers.podman("ps", "--format", "{{.Names}}").split() if one.endswith(f"-{name}")
    ]
    config = containers.inspect(found)
    host = config["HostConfig"]
    holds = {
        "user": config["Config"]["User"] == "10001:10001",
        "read-only root": host["ReadonlyRootfs"],
        "no capabilities": not config["EffectiveCaps"],
        "no new privileges": "no-new-privileges" in host["SecurityOpt"],
        "memory limit": host["Memory"] > 0,
    }
    require(all(holds.values()), f"not in force: {[name for name, held in holds.items() if not held]}")
    findings.add("play kube: security context and limits", ", ".join(holds))


def playable(documents: list[dict[str, Any]], image: str, port: int, keys: str) -> list[dict[str, Any]]:
    """The manifests as podman can play them: one replica of our image on a loopback port, its keys in a ConfigMap."""
    played = json.loads(json.dumps([document for document in documents if document["kind"] in _PLAYED]))
    for document in played:
        if document["kind"] == "Deployment":
            document["spec"]["replicas"] = 1
            pod = document["spec"]["template"]["spec"]
            # Debian's podman 4.3 mounts the values of a Secret without decoding them.
            for volume in pod["volumes"]:
                if "secret" in volume:
                    volume["configMap"] = {"name": volume.pop("secret")["secretName"]}
            (container,) = pod["containers"]
            container["image"] = image
            container["imagePullPolicy"] = "Never"
            container["ports"][0] |= {"hostPort": port, "hostIP": "127.0.0.1"}
    file = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": KEYS}, "data": {"keys.json": keys}}
    return [file, *played]
