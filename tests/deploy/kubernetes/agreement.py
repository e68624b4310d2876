"""What is wrong with rendered objects as a whole: with each other, with the service, and with its image."""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import promql_parser
import pytest
import yaml

from app.api.routes import chat, completions, decisions, ops
from app.settings import PREFIX, Settings, explain, load_settings
from deploy.prometheus.generate import JOB
from tests.deploy.grafana.exported import samples
from tests.deploy.grafana.promql import selectors
from tests.deploy.kubernetes.rendering import ROOT, Object, container, named, of_kind, pod, settings

Problems = Iterator[str]

NOT_OURS = frozenset({"HF_HUB_OFFLINE", "OMP_NUM_THREADS"})
"""Variables that libraries read."""
MARGIN_SECONDS = 5
"""What the engine process and a container's end may take after the drain."""
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_PATHS = {route.path for module in (chat, completions, decisions, ops) for route in module.router.routes}


def dockerfile(instruction: str) -> str:
    """The last instruction of this name in the image's Dockerfile."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found: str = re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)[-1]
    return found


def image_variables() -> dict[str, str]:
    """Variables that the image sets, for a CPU and for CUDA."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    common = text.partition("FROM runtime AS cuda")[0]
    lines = re.findall(r"^ENV (.*)$", common, re.MULTILINE)
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(lines)))


def read_settings(objects: list[Object]) -> Settings:
    """The settings that a replica reads.

    Raises:
        ValueError: the service would refuse to start.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (image_variables() | settings(objects)).items():
            if name.startswith(PREFIX):
                patch.setenv(name, value)
        return load_settings()


def wrong_settings(objects: list[Object]) -> Problems:
    """Variables that nobody reads, values that the service refuses, and files that are nowhere mounted."""
    variables = settings(objects)
    entries = [entry["name"] for entry in container(objects).get("env", [])]
    for name in (*variables, *entries):
        if not name.startswith(PREFIX) and name not in NOT_OURS:
            yield f"nobody reads {name}"
    try:
        read = read_settings(objects)
    except ValueError as error:
        yield explain(error)
        return
    mounts = {mount["mountPath"]: mount for mount in container(objects)["volumeMounts"]}
    given = [variables[name] for name in ("REPARTEE_MODEL",) if name in variables]
    for path in [*given, *([str(read.api_keys_file)] if read.api_keys_file else [])]:
        if not any(PurePosixPath(path).is_relative_to(mount) for mount in mounts):
            yield f"nothing is mounted at {path}"
    if not read.api_keys_file:
        yield "the service is open to everybody in the cluster"
    for path in (image_variables()["HF_HOME"], "/tmp"):
        if path not in mounts or mounts[path].get("readOnly"):
            yield f"{path} cannot be written to"


def wrong_probes(objects: list[Object]) -> Problems:
    """Paths and ports that the service does not have, and a rollout that gives up before the start may take."""
    ports = {port["name"]: port["containerPort"] for port in container(objects)["ports"]}
    if ports.get("http") != int(image_variables()["REPARTEE_PORT"]):
        yield "the image listens on another port"
    for name in PROBES:
        probe = container(objects).get(name, {}).get("httpGet", {})
        if probe.get("path") not in _PATHS:
            yield f"{name}: the service has no {probe.get('path')}"
        if probe.get("port") not in ports:
            yield f"{name}: the container has no port {probe.get('port')}"
    startup = container(objects)["startupProbe"]
    progress = named(objects, "Deployment")["spec"]["progressDeadlineSeconds"]
    if progress <= startup["periodSeconds"] * startup["failureThreshold"]:
        yield "the rollout gives up before the start may take"


def wrong_ports(objects: list[Object]) -> Problems:
    """Ports of Services, pools and policies that no container has, and paths that are scraped or routed in vain."""
    for service in of_kind(objects, "Service"):
        ports = {port["name"] for port in container(objects, service["metadata"]["name"])["ports"]}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"no container has the port {port['targetPort']}"
    own = {port["name"]: port["containerPort"] for port in container(objects)["ports"]}
    for policy in of_kind(objects, "NetworkPolicy"):
        for port in (port for rule in policy["spec"]["ingress"] for port in rule["ports"]):
            if port["port"] not in own and port["port"] not in own.values():
                yield f"NetworkPolicy: no container has the port {port['port']}"
    for monitor in of_kind(objects, "ServiceMonitor"):
        service = named(objects, "Service")
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in {port["name"] for port in service["spec"]["ports"]}:
                yield f"ServiceMonitor: the Service has no port {endpoint['port']}"
            if endpoint["path"] not in _PATHS:
                yield f"ServiceMonitor: the service has no {endpoint['path']}"
        if service["metadata"]["labels"].get(monitor["spec"]["jobLabel"]) != JOB:
            yield "ServiceMonitor: rules and dashboards ask for another job"
    for pool in of_kind(objects, "InferencePool"):
        if [port["number"] for port in pool["spec"]["targetPorts"]] != [own["http"]]:
            yield "InferencePool: no container has the port"
        picker = pool["spec"]["endpointPickerRef"]
        if picker["port"]["number"] not in {
            port["port"] for port in named(objects, "Service", picker["name"])["spec"]["ports"]
        }:
            yield "InferencePool: the picker has no such port"
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for match in rule["matches"]:
                if not any(path.startswith(match["path"]["value"] + "/") for path in _PATHS):
                    yield f"HTTPRoute: the service has nothing below {match['path']['value']}"


def wrong_selectors(objects: list[Object]) -> Problems:
    """Selectors that select no Deployment's pods, or those of two."""
    pods = {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in of_kind(objects, "Deployment")
    }
    wanted = list[tuple[str, dict[str, str], str]]()
    for found in objects:
        kind, name, spec = found["kind"], found["metadata"]["name"], found.get("spec", {})
        if kind == "Service":
            wanted.append((kind, spec["selector"], name))
        elif kind in ("Deployment", "PodDisruptionBudget", "InferencePool"):
            wanted.append((kind, spec["selector"]["matchLabels"], name))
        elif kind == "NetworkPolicy":
            wanted.append((kind, spec["podSelector"]["matchLabels"], name))
    wanted += [
        ("topologySpreadConstraints", spread["labelSelector"]["matchLabels"], "repartee")
        for spread in pod(objects)["topologySpreadConstraints"]
    ]
    for kind, labels, name in wanted:
        selected = [owner for owner, has in pods.items() if labels.items() <= has.items()]
        if selected != [name]:
            yield f"{kind} {name} selects the pods of {selected}"
    for monitor in of_kind(objects, "ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"]
        services = [
            found["metadata"]["name"]
            for found in of_kind(objects, "Service")
            if labels.items() <= found["metadata"]["labels"].items()
        ]
        if services != ["repartee"]:
            yield f"ServiceMonitor selects the Services {services}"


def wrong_times(objects: list[Object]) -> Problems:
    """Streams that would be cut off at the end of a replica or by the route."""
    read = read_settings(objects)
    before = container(objects).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = before + read.drain_delay_seconds + read.drain_seconds + MARGIN_SECONDS
    if pod(objects).get("terminationGracePeriodSeconds", 30) < needed:
        yield f"a replica is killed before the {needed:g} s that its end may take"
    if read.drain_seconds < read.request_timeout_seconds:
        yield "the drain is shorter than the longest stream"
    readiness = container(objects)["readinessProbe"]
    if read.drain_delay_seconds < 2 * readiness["periodSeconds"] * readiness["failureThreshold"]:
        yield "new work is refused before a probe has seen that the replica is leaving"
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            if _seconds(rule["timeouts"]["request"]) <= read.request_timeout_seconds:
                yield "HTTPRoute: the route ends streams that the service would not"


def _seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def wrong_metrics(objects: list[Object], adapter: Object) -> Problems:
    """Metrics and labels that autoscalers and the picker ask for and the service does not export."""
    asked = dict[str, set[str]]()
    series = "".join(str(rule["seriesQuery"]) for rule in adapter["rules"]["custom"])
    (kept,) = re.findall(r'__name__=~"([^"]*)"', series)
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            name = metric["pods"]["metric"]["name"]
            asked[name] = set()
            if not re.fullmatch(kept, name):
                yield f"adapter-values.yaml does not serve {name}"
    for scaler in of_kind(objects, "ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            query = trigger["metadata"]["query"]
            asked |= {found.metric: set(found.labels) - {"job"} for found in selectors(query)}
            if f'job="{JOB}"' not in promql_parser.parse(query).prettify():
                yield "ScaledObject: the query is of every job"
    for engine in _picker_engines(objects):
        asked |= {str(engine[key]): set[str]() for key in engine if key.endswith("Spec")}
        labels = {str(engine[key]) for key in engine if key.endswith("LabelName")}
        asked[str(engine["cacheInfoSpec"])] = labels
    exported = samples()
    for name, labels in asked.items():
        if name not in exported:
            yield f"the service does not export {name}"
        elif not labels <= exported[name]:
            yield f"{name} has no label {sorted(labels - exported[name])}"


def picker_config(objects: list[Object]) -> Object:
    """The configuration of the endpoint picker."""
    found: Object = yaml.safe_load(
        named(objects, "ConfigMap", "repartee-picker")["data"]["picker-config.yaml"]
    )
    return found


def _picker_engines(objects: list[Object]) -> list[dict[str, Any]]:
    if not of_kind(objects, "InferencePool"):
        return []
    plugins = picker_config(objects)["plugins"]
    (extractor,) = [plugin for plugin in plugins if plugin["type"] == "core-metrics-extractor"]
    engines: list[dict[str, Any]] = extractor["parameters"]["engineConfigs"]
    return engines


def wrong_picker(objects: list[Object]) -> Problems:
    """Plugins that are named and not there, another pool, and metrics that it cannot read."""
    if not of_kind(objects, "InferencePool"):
        return
    config = picker_config(objects)
    plugins = {plugin.get("name", plugin["type"]): plugin for plugin in config["plugins"]}
    used = [*config["requestHandler"]["parsers"], *config["schedulingProfiles"][0]["plugins"]]
    for reference in used:
        if reference["pluginRef"] not in plugins:
            yield f"the picker has no plugin {reference['pluginRef']}"
    (extractor,) = [plugin for plugin in config["plugins"] if plugin["type"] == "core-metrics-extractor"]
    if plugins["metrics-data-source"]["parameters"]["path"] not in _PATHS:
        yield "the picker reads metrics where there are none"
    labels = named(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    if labels.get("llm-d.ai/engine-type") not in {engine["name"] for engine in _picker_engines(objects)}:
        yield "the picker does not know the engine of the pods"
    if extractor["parameters"]["defaultEngine"] not in {
        engine["name"] for engine in _picker_engines(objects)
    }:
        yield "the picker's default engine is none of its own"
    arguments = container(objects, "repartee-picker")["args"]
    pool = named(objects, "InferencePool")
    for argument in (
        f"--pool-name={pool['metadata']['name']}",
        f"--pool-group={pool['apiVersion'].partition('/')[0]}",
    ):
        if argument not in arguments:
            yield f"the picker lacks {argument}"
    (port,) = [
        port
        for port in named(objects, "Service", "repartee-picker")["spec"]["ports"]
        if port["name"] == "grpc"
    ]
    if "--secure-serving=true" not in arguments or "appProtocol" in port:
        yield "the picker speaks TLS, or says that it does not"
    if not read_settings(objects).metrics_without_key:
        yield "the picker sends no key, and the service asks for one"


def wrong_image(objects: list[Object]) -> Problems:
    """A build of the image for another device than the settings name."""
    image, device = container(objects)["image"], read_settings(objects).device
    if image.endswith("-cuda") != (device == "cuda"):
        yield f"the device is {device}, the image {image}"


def wrong_user(objects: list[Object]) -> Problems:
    """Another user than the image's, and rights that no pod needs."""
    user, group = map(int, dockerfile("USER").split(":"))
    for found in of_kind(objects, "Deployment"):
        name = found["metadata"]["name"]
        of_pod, of_container = (
            pod(objects, name)["securityContext"],
            container(objects, name)["securityContext"],
        )
        if name == "repartee" and (of_pod["runAsUser"], of_pod["runAsGroup"], of_pod["fsGroup"]) != (
            user,
            group,
            group,
        ):
            yield "the pod runs as another user than the image's"
        if (
            of_pod.get("runAsNonRoot") is not True
            or of_container.get("allowPrivilegeEscalation") is not False
        ):
            yield f"{name} could be root"
        if not of_container.get("readOnlyRootFilesystem") or of_container.get("capabilities") != {
            "drop": ["ALL"]
        }:
            yield f"{name} could change its own files or the node's"


def wrong_references(objects: list[Object], documented: str) -> Problems:
    """Names that no object has and no page tells to make."""
    there = {(found["kind"], found["metadata"]["name"]) for found in objects}
    for kind, name in _references(objects):
        if (kind, name) not in there and f"`{name}`" not in documented:
            yield f"there is no {kind} {name}"
    for found in objects:
        if (
            found["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
            and "replicas" in (named(objects, "Deployment")["spec"])
        ):
            yield "each apply sets back the count of the autoscaler"


def _references(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for found in of_kind(objects, "Deployment"):
        name = found["metadata"]["name"]
        spec, only = pod(objects, name), container(objects, name)
        yield "ServiceAccount", spec["serviceAccountName"]
        for source in only.get("envFrom", []):
            yield "ConfigMap", source["configMapRef"]["name"]
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for mount in only.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield "volume", mount["name"]
        for volume in volumes.values():
            if "secret" in volume:
                yield "Secret", volume["secret"]["secretName"]
            if "configMap" in volume:
                yield "ConfigMap", volume["configMap"]["name"]
            if "persistentVolumeClaim" in volume:
                yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for found in objects:
        spec = found.get("spec", {})
        if found["kind"] == "ServiceMonitor":
            for endpoint in spec["endpoints"]:
                yield "Secret", endpoint["authorization"]["credentials"]["name"]
        if found["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            yield "Deployment", spec["scaleTargetRef"]["name"]
        if found["kind"] == "InferencePool":
            yield "Service", spec["endpointPickerRef"]["name"]
        if found["kind"] == "HTTPRoute":
            for backend in (backend for rule in spec["rules"] for backend in rule["backendRefs"]):
                yield backend["kind"], backend["name"]
            for gateway in spec["parentRefs"]:
                yield "Gateway", gateway["name"]
        if found["kind"] == "RoleBinding":
            yield found["roleRef"]["kind"], found["roleRef"]["name"]
            for subject in found["subjects"]:
                yield subject["kind"], subject["name"]


CHECKS: tuple[Callable[[list[Object]], Problems], ...] = (
    wrong_probes,
    wrong_ports,
    wrong_selectors,
    wrong_times,
    wrong_picker,
    wrong_image,
    wrong_user,
)
