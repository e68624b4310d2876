"""What an expression asks for, read by a PromQL parser."""

from dataclasses import dataclass
from typing import Any

import promql_parser


@dataclass(frozen=True)
class Selected:
    """One selector: a metric and the labels that it is filtered by."""

    metric: str
    labels: frozenset[str]


def selectors(expression: str) -> list[Selected]:
    """Every selector of an expression.

    Raises:
        ValueError: it is no PromQL.
    """
    found: list[Selected] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
            found.append(_selected(node))
        elif isinstance(node, promql_parser.VectorSelector):
            found.append(_selected(node))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return list(dict.fromkeys(found))


def groupings(expression: str) -> list[tuple[frozenset[str], list[Selected]]]:
    """The labels that each aggregation keeps, with the selectors that it aggregates."""
    found: list[tuple[frozenset[str], list[Selected]]] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.append((frozenset(node.modifier.labels), selectors(str(node.expr))))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def _selected(node: Any) -> Selected:
    return Selected(node.name, frozenset(matcher.name for matcher in node.matchers.matchers))
