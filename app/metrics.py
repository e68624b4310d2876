"""Metrics: the one class that observes what the service does."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.engine.messages import FinishReason, Ready, StepStats
from app.logs import dropped_lines
from app.metric_families.buckets import InvalidBuckets, bounds_with
from app.metric_families.decisions import DecisionFamilies
from app.metric_families.engine import EngineFamilies
from app.metric_families.gpu import GpuFamilies
from app.metric_families.objectives import Objectives
from app.metric_families.policy import PolicyFamilies
from app.metric_families.processes import ProcessFamilies
from app.metric_families.registry import Registry
from app.metric_families.requests import RequestFamilies
from app.metric_families.service import ServiceFamilies
from app.metric_families.tenants import TenantFamilies
from app.metric_families.vllm import VllmAliases
from app.observation import Observation, Task
from app.settings import PREFIX, Settings
from app.slos import InvalidSlos, Slo, load_slos

_PAUSE_SECONDS = 1e-5


class InvalidMetricSettings(ValueError):
    """Settings of the metrics that cannot be used; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class MetricOptions:
    """What an operator may choose.

    Attributes:
        slos: the objectives that requests are judged by.
        buckets: bounds that replace those of a histogram, by its name.
        revision: of the source, for `build_info`.
        vllm_aliases: export some families under vLLM's names too.
    """

    slos: Sequence[Slo] = field(default_factory=load_slos)
    buckets: Mapping[str, Sequence[float]] = field(default_factory=dict)
    revision: str = ""
    vllm_aliases: bool = False


class Metrics:
    """Observes; called by the engine's output loop, by the HTTP middleware and by the policy, and nowhere else.

    Each has a registry of its own, so that two services may live in one process.

    Args:
        model: the served name.

    Raises:
        InvalidBuckets: bounds of the options that cannot be used.
    """

    def __init__(self, model: str, options: MetricOptions | None = None) -> None:
        options = options or MetricOptions()
        self.slos = options.slos
        families = Registry(model, bounds_with(options.buckets, options.slos))
        self.registry = families.collectors
        self._requests = RequestFamilies(families, Objectives(families, options.slos))
        self._decisions = DecisionFamilies(families)
        self._tenants = TenantFamilies(families)
        self._policy = PolicyFamilies(families)
        self._engine = EngineFamilies(families)
        self._service = ServiceFamilies(families, options.revision)
        self._processes = ProcessFamilies(families, dropped_lines)
        families.add(GpuFamilies())
        if options.vllm_aliases:
            VllmAliases(families)

    @classmethod
    def of(cls, settings: Settings) -> "Metrics":
        """The metrics that the settings ask for.

        Raises:
            InvalidMetricSettings: a table of objectives or bucket bounds that cannot be used.
        """
        try:
            slos = load_slos(settings.slo_file) if settings.slo_file else load_slos()
            buckets, aliases = settings.metrics_buckets, settings.metrics_vllm_aliases
            metrics = cls(settings.served_name, MetricOptions(slos, buckets, settings.revision, aliases))
        except InvalidSlos as error:
            raise InvalidMetricSettings(f"{PREFIX}SLO_FILE: {error}") from error
        except InvalidBuckets as error:
            raise InvalidMetricSettings(f"{PREFIX}METRICS_BUCKETS: {error}") from error
        metrics.set_queue_limit(settings.max_waiting)
        return metrics

    # The service

    def know_tenants(self, tenants: Iterable[str]) -> None:
        """The tenants that have keys, in the order of the keys file."""
        self._tenants.know(tenants)

    def know_routes(self, routes: Iterable[tuple[str, str]]) -> None:
        """The templates of the routes, each with each of its methods."""
        self._service.know_routes(routes)

    def know_policy(self, actions: Iterable[tuple[str, str, str]]) -> None:
        """The rules of the policy: name, place and action."""
        self._policy.know(actions)

    def set_ready(self, ready: bool) -> None:
        """Whether the service can serve."""
        self._service.set_ready(ready)

    def set_draining(self, draining: bool) -> None:
        """Whether the service shuts down."""
        self._service.set_draining(draining)

    def set_keys_stale(self, stale: bool) -> None:
        """Whether the keys in force are older than the keys file, which cannot be used."""
        self._service.set_keys_stale(stale)

    def set_queue_limit(self, sequences: int) -> None:
        """Most sequences that may wait."""
        self._engine.set_queue_limit(sequences)

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke up so much later than asked."""
        self._service.loop_lag(seconds)

    # Requests

    def http(self, route: str, method: str, status: int) -> None:
        """One HTTP answer; `route` is a template, `status` a number of three digits."""
        self._service.http(route, method, status)

    def rejected(self, task: Task, reason: str) -> None:
        """A request was refused; `reason` is one of `REJECTIONS`."""
        self._requests.rejected(task, reason)

    def observe_request(self, observation: Observation) -> None:
        """One finished inference request; requests without a task (health, models) are not recorded here."""
        if observation.task is None:
            return
        self._requests.observe(observation.task, observation)
        self._tenants.observe(observation)
        if observation.outcome == "ok":
            self._decisions.observe(observation.decisions)

    def policy_acted(self, rule: str, at: str, action: str) -> None:
        """A rule of the policy acted on a request."""
        self._policy.acted(rule, at, action)

    # The engine

    def loading(self, phase: str, seconds: float) -> None:
        """A loading phase ended; phases that nobody knows are not recorded."""
        self._engine.loading(phase, seconds)

    def ready(self, info: Ready) -> None:
        """The engine told what it found and chose at start."""
        self._engine.ready(info)
        self._service.ready(info)

    def step(self, stats: StepStats) -> None:
        """One engine step; a step without sequences only refreshes the gauges."""
        self._engine.step(stats)

    def inter_token(self, seconds: float, tokens: int) -> None:
        """`tokens` tokens of one sequence arrived `seconds` after the one before them."""
        self._engine.inter_token(seconds, tokens)

    def sequence_finished(self, task: Task, reason: FinishReason) -> None:
        """One sequence ended."""
        self._engine.sequence_finished(task, reason)

    def engine_process(self, pid: int | None) -> None:
        """The engine runs as this process, or as none."""
        self._processes.engine_pid = pid

    def engine_restarted(self) -> None:
        """A new engine process replaces one that ended, and holds nothing."""
        self._engine.restarted()

    # The scraper

    def render(self, accept: str | None) -> tuple[bytes, str]:
        """The exposition and its content type, in the format that the `Accept` header asks for.

        Takes milliseconds, and belongs into a thread of its own.
        """
        try:
            encode, content_type = choose_encoder(accept or "")
        except (TypeError, ValueError):  # a version that is none: as if nothing had been asked for
            encode, content_type = choose_encoder("")
        return encode(_Courteous(self.registry)), content_type


class _Courteous(Collector):
    """A registry that lets other threads run after each family.

    The interpreter would let the event loop wait for five milliseconds each time that it wants to go on.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """The families, one after the other."""
        for family in self._registry.collect():
            yield family
            time.sleep(_PAUSE_SECONDS)
