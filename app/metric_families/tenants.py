"""Who uses the service how much, and how fast it is for them."""

from collections.abc import Iterable

from app.metric_families.registry import Registry
from app.metric_families.requests import GENERATING_TASKS, OUTCOMES
from app.observation import Observation

MOST_TENANTS = 12
"""Tenants that are told apart: each has ten series."""
NOBODY = "-"
"""Requests without a key, or with one that is not known."""
OTHERS = "other"
TOKEN_TYPES = ("prompt", "cached", "generated")


class TenantFamilies:
    """Requests, tokens and time to first token by tenant: the first of the keys file, and the others together."""

    def __init__(self, registry: Registry) -> None:
        self._requests = registry.plain_counter(
            "tenant_requests", "Inference requests by tenant and how they ended.", ("tenant", "outcome")
        )
        self._tokens = registry.plain_counter("tenant_tokens", "Tokens by tenant.", ("tenant", "type"))
        self._ttft = registry.plain_summary(
            "tenant_time_to_first_token_seconds",
            "Arrival to first token by tenant, queueing included.",
            ("tenant",),
        )
        self._known: tuple[str, ...] = ()
        self._start_at_zero((NOBODY,))

    def know(self, tenants: Iterable[str]) -> None:
        """The tenants of the keys file, in its order; without one there is only `-`.

        Of a file that has changed, those that were not known before; nobody's series goes, for series must not jump.
        """
        if not self._known:
            for family in (self._requests, self._tokens, self._ttft):
                family.clear()
            self._requests.labels(NOBODY, "rejected")  # nobody without a key gets any further
        names = [*self._known, *(name for name in dict.fromkeys(tenants) if name not in self._known)]
        self._start_at_zero(
            [*names[len(self._known) : MOST_TENANTS], *([OTHERS] if names[MOST_TENANTS:] else [])]
        )
        self._known = tuple(names[:MOST_TENANTS])

    def _start_at_zero(self, tenants: Iterable[str]) -> None:
        for tenant in tenants:
            for outcome in OUTCOMES:
                self._requests.labels(tenant, outcome)
            for kind in TOKEN_TYPES:
                self._tokens.labels(tenant, kind)
            self._ttft.labels(tenant)

    def observe(self, observation: Observation) -> None:
        """One inference request that ended."""
        tenant = self._name(observation.tenant)
        self._requests.labels(tenant, observation.outcome).inc()
        if observation.outcome == "rejected":
            return
        self._tokens.labels(tenant, "prompt").inc(observation.prompt_tokens)
        self._tokens.labels(tenant, "cached").inc(observation.cached_tokens)
        self._tokens.labels(tenant, "generated").inc(observation.generated_tokens)
        if observation.first_token is not None and observation.task in GENERATING_TASKS:
            self._ttft.labels(tenant).observe(observation.first_token)

    def _name(self, tenant: str | None) -> str:
        if tenant is None:
            return NOBODY
        return tenant if tenant in self._known else OTHERS
