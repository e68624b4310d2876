"""One alert, and the rule of Prometheus that it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PREFIX = "Repartee"
RUNBOOK = "docs/runbook.md"
"""Where the runbook lies for a reader of the repository; operators name the address of their own copy."""

Severity = Literal["page", "ticket", "info", "none"]
"""Whom it reaches: someone now, someone in working hours, nobody in particular, only the watch over the alerting."""


@dataclass(frozen=True)
class Alert:
    """One alert.

    Attributes:
        name: without the prefix; the runbook has a section of the whole name.
        expression: PromQL that gives a sample for each thing that is wrong.
        lasting: how long it must do so, as Prometheus writes durations; at once by default.
        summary: one line, as a title.
        description: a sentence with the value.
        labels: beside those of the samples and the severity.
    """

    name: str
    severity: Severity
    expression: str
    summary: str
    description: str
    lasting: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self, runbook: str) -> dict[str, Any]:
        """The rule, its link leading to the section of the runbook at that address."""
        name = PREFIX + self.name
        return {
            "alert": name,
            "expr": self.expression,
            **({"for": self.lasting} if self.lasting else {}),
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbook}#{name.lower()}",
            },
        }
