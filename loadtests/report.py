"""A run's results as markdown: machine, one table of medians with their spread, gates, what failed."""

import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.bench.markdown import number, table
from loadtests.gates import Gate, gates

Samples = dict[str, dict[str, list[float]]]


@dataclass
class Results:
    """Samples of each subject's figures, what went wrong, by subject, and the subjects that are not there."""

    samples: Samples = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    failures: dict[str, list[str]] = field(default_factory=dict)

    def add(self, subject: str, figures: Mapping[str, float]) -> None:
        """Take one round of one subject."""
        for figure, value in figures.items():
            self.samples.setdefault(subject, {}).setdefault(figure, []).append(value)

    def fail(self, subject: str, reason: str) -> None:
        """Note a round that gave no figures."""
        self.failures.setdefault(subject, []).append(reason)

    @property
    def medians(self) -> dict[str, dict[str, float]]:
        """The median of each figure."""
        return {
            subject: {figure: statistics.median(values) for figure, values in figures.items()}
            for subject, figures in self.samples.items()
        }


def render(
    results: Results,
    *,
    groups: Mapping[str, Sequence[str]],
    machine: Mapping[str, str],
    command: str,
    notes: Sequence[str],
    peers: str,
    streams: int,
) -> str:
    """The whole report; `groups` names the subjects of each table under its heading, `peers` is a table of them."""
    parts = [
        "# CPU bench\n",
        "\n".join(f"- {name}: {value}" for name, value in machine.items()),
        f"\nReproduce: `{command}`\n",
        *[f"{note}\n" for note in notes],
        "## Peers\n",
        peers,
        "\n## Figures\n\nMedian (least to greatest of the rounds).",
    ]
    for heading, subjects in groups.items():
        known = [name for name in subjects if name in results.samples or name in results.absent]
        samples = {name: results.samples.get(name, {}) for name in known}
        if any(samples.values()):
            parts += [f"\n### {heading}\n", figures_table(samples, results.absent)]
    parts += ["\n## Gates\n", gates_table(gates(results.medians, streams))]
    if results.failures:
        parts += ["\n## Not measured\n", *_failures(results.failures)]
    return "\n".join(parts) + "\n"


def figures_table(samples: Samples, absent: Container[str] = ()) -> str:
    """One row a figure, one column a subject; the column of a subject in `absent` says so."""
    figures = list(dict.fromkeys(figure for found in samples.values() for figure in found))
    rows = [
        [
            figure,
            *["not there" if name in absent else _cell(found.get(figure)) for name, found in samples.items()],
        ]
        for figure in figures
    ]
    return table(["figure", *samples], rows)


def gates_table(found: Iterable[Gate]) -> str:
    """One row a gate."""
    rows = [
        [gate.name, number(gate.value), f"{'≥' if gate.at_least else '≤'} {gate.bound:g}", gate.verdict]
        for gate in found
    ]
    return table(["gate", "measured", "bound", "verdict"], rows)


def _cell(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def _failures(failures: Mapping[str, Sequence[str]]) -> Iterable[str]:
    for subject, reasons in failures.items():
        yield f"{subject}, failures: {len(reasons)}, the last:\n\n```\n{reasons[-1].strip()}\n```\n"
