"""The fields of other projects' resources that the manifests use, as their documentation describes them.

These are not the CRDs' own schemas: a field that is misspelt or in the wrong place is found, what an operator thinks of
the values is not.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Duration = Annotated[str, Field(pattern=r"^[1-9]\d*(ms|s|m|h)$")]
NumberText = Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Part(BaseModel):
    """No conversions and no other fields."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Metadata(Part):
    """Of every object."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}


class Labels(Part):
    """A selector by equality."""

    matchLabels: Annotated[dict[str, str], Field(min_length=1)]


class SecretKey(Part):
    """One entry of a Secret."""

    name: str
    key: str


class Authorization(Part):
    """What the scraper sends."""

    type: Literal["Bearer"]
    credentials: SecretKey


class Endpoint(Part):
    """What is scraped of each pod of a Service."""

    port: str
    path: str
    interval: Duration
    authorization: Authorization | None = None


class ServiceMonitorSpec(Part):
    """monitoring.coreos.com/v1."""

    jobLabel: str
    selector: Labels
    endpoints: Annotated[list[Endpoint], Field(min_length=1)]


class Rule(Part):
    """A recording rule or an alert."""

    record: str | None = None
    alert: str | None = None
    expr: str
    for_: Annotated[str | None, Field(alias="for")] = None
    keep_firing_for: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Group(Part):
    """Rules that are evaluated together."""

    name: str
    interval: Duration | None = None
    rules: Annotated[list[Rule], Field(min_length=1)]


class PrometheusRuleSpec(Part):
    """monitoring.coreos.com/v1."""

    groups: Annotated[list[Group], Field(min_length=1)]


class Target(Part):
    """A Deployment by name."""

    name: str


class Fallback(Part):
    """How many replicas where the trigger fails."""

    failureThreshold: Annotated[int, Field(ge=1)]
    replicas: Annotated[int, Field(ge=0)]
    behavior: Literal["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]


class Query(Part):
    """Metadata of KEDA's trigger `prometheus`: all of it is text."""

    serverAddress: Annotated[str, Field(pattern=r"^https?://")]
    query: str
    threshold: NumberText
    ignoreNullValues: Literal["true", "false"]


class Trigger(Part):
    """One reason to scale."""

    type: Literal["prometheus"]
    name: str
    metricType: Literal["AverageValue"]
    metadata: Query


class Policy(Part):
    """A step of an autoscaler."""

    type: Literal["Pods", "Percent"]
    value: Annotated[int, Field(ge=1)]
    periodSeconds: Annotated[int, Field(ge=1, le=1800)]


class Direction(Part):
    """Up or down."""

    stabilizationWindowSeconds: Annotated[int, Field(ge=0, le=3600)]
    policies: Annotated[list[Policy], Field(min_length=1)]


class Behavior(Part):
    """How fast replicas come and go."""

    scaleUp: Direction
    scaleDown: Direction


class AutoscalerConfig(Part):
    """Of the autoscaler that KEDA makes."""

    behavior: Behavior


class Advanced(Part):
    """Of a ScaledObject."""

    horizontalPodAutoscalerConfig: AutoscalerConfig


class ScaledObjectSpec(Part):
    """keda.sh/v1alpha1."""

    scaleTargetRef: Target
    minReplicaCount: Annotated[int, Field(ge=1)]
    maxReplicaCount: Annotated[int, Field(ge=1)]
    pollingInterval: Annotated[int, Field(ge=1)]
    fallback: Fallback
    triggers: Annotated[list[Trigger], Field(min_length=1)]
    advanced: Advanced


class Number(Part):
    """A port by number."""

    number: Port


class PickerRef(Part):
    """The Service that chooses an endpoint."""

    name: str
    port: Number
    failureMode: Literal["FailOpen", "FailClose"]


class InferencePoolSpec(Part):
    """inference.networking.k8s.io/v1."""

    selector: Labels
    targetPorts: Annotated[list[Number], Field(min_length=1, max_length=8)]
    endpointPickerRef: PickerRef


class PathMatch(Part):
    """Which paths."""

    type: Literal["PathPrefix", "Exact"]
    value: Annotated[str, Field(pattern=r"^/")]


class Match(Part):
    """Which requests."""

    path: PathMatch


class Backend(Part):
    """Where they go."""

    group: str
    kind: str
    name: str


class Timeouts(Part):
    """Of a whole request."""

    request: Duration


class RouteRule(Part):
    """One rule."""

    matches: Annotated[list[Match], Field(min_length=1)]
    backendRefs: Annotated[list[Backend], Field(min_length=1)]
    timeouts: Timeouts


class HTTPRouteSpec(Part):
    """gateway.networking.k8s.io/v1."""

    parentRefs: Annotated[list[Target], Field(min_length=1)]
    rules: Annotated[list[RouteRule], Field(min_length=1)]


class Custom(Part):
    """Any of them, before its spec is looked at."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: dict[str, object]


SPECS: dict[tuple[str, str], type[Part]] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): ServiceMonitorSpec,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRuleSpec,
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObjectSpec,
    ("inference.networking.k8s.io/v1", "InferencePool"): InferencePoolSpec,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): HTTPRouteSpec,
}
"""By `apiVersion` and `kind`."""


def check(found: dict[str, object]) -> None:
    """Check the fields of a custom resource.

    Raises:
        KeyError: a kind that nobody has described here.
        pydantic.ValidationError: a field that is missing, unknown or of the wrong type.
    """
    custom = Custom.model_validate(found)
    SPECS[custom.apiVersion, custom.kind].model_validate(custom.spec)
