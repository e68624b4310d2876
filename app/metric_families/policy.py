"""What the rules of the operator's policy do."""

from collections.abc import Iterable

from app.metric_families.registry import Registry


class PolicyFamilies:
    """Actions by rule; nothing is exported without a policy."""

    def __init__(self, registry: Registry) -> None:
        self._actions = registry.plain_counter(
            "policy_actions",
            "Requests on which a rule of the policy acted, or could not be judged (`failed`).",
            ("rule", "at", "action"),
        )

    def know(self, actions: Iterable[tuple[str, str, str]]) -> None:
        """Each rule with each place that it looks at and each action that it can take."""
        for rule, at, action in actions:
            self._actions.labels(rule, at, action)

    def acted(self, rule: str, at: str, action: str) -> None:
        """A rule acted on a request."""
        self._actions.labels(rule, at, action).inc()
