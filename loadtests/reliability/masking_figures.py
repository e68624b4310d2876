"""How much of what identifies people the masking of log lines finds, and how much else it takes.

    python -m loadtests.reliability.masking_figures [--each 1000] [--seed 1] [--write]

Three seeded sets of made-up values and near misses: two that the patterns were tried on while they were made better,
and one that was held back. Recall is the share of values that are taken out whole; precision the share of what is taken
out that was a value. A text is Chinese or English, and a value stands next to anything. Ends with code 1 where recall
is below 99.5 % or precision below 98 % on any set.
"""

import argparse
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from app.bench.markdown import table
from app.masking.mask import mask
from loadtests import dated_page
from loadtests.gates import Gate
from loadtests.machine import machine
from loadtests.reliability import masking_forms, masking_held_back, masking_set
from loadtests.reliability.masking_set import Sample
from loadtests.report import gates_table

RECALL, PRECISION = 99.5, 98.0
"""Percent."""
_TAG = re.compile(r"\[[a-z ]+\]")


@dataclass
class Counts:
    """What was found in one set.

    Attributes:
        values, found: by kind.
        misses, taken: near misses by kind, and what was taken out of them.
        wrongly: pieces that were taken out and are no value, those beside a value included.
        examples: texts that went wrong.
    """

    values: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    misses: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    wrongly: int = 0
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Mask one text and judge it."""
        masked = mask(sample.text)
        if not sample.value:
            self.misses[sample.kind] += 1
            if masked != sample.text:
                pieces = len(_TAG.findall(masked)) - len(_TAG.findall(sample.text))
                self.taken[sample.kind] += 1
                self.wrongly += pieces
                self.examples.setdefault(f"{sample.kind}, taken", f"{sample.text!r} → {masked!r}")
            return
        self.values[sample.kind] += 1
        whole = masked.startswith(sample.before) and masked.endswith(sample.after)
        left = masked[len(sample.before) : len(masked) - len(sample.after)]
        if whole and re.fullmatch(rf"\W*({_TAG.pattern}\W*)+", left):  # a bracket of the value may stay
            self.found[sample.kind] += 1
            return
        if _leaves_nothing(sample, masked):
            self.found[sample.kind] += 1
            self.wrongly += 1  # and something beside it
        self.examples.setdefault(sample.kind, f"{sample.text!r} → {masked!r}")

    @property
    def recall(self) -> float:
        """Percent."""
        return 100 * self.found.total() / self.values.total()

    @property
    def precision(self) -> float:
        """Percent; NaN where nothing was taken out."""
        taken = self.found.total() + self.wrongly
        return 100 * self.found.total() / taken if taken else math.nan


def _leaves_nothing(sample: Sample, masked: str) -> bool:
    """Whether no three characters of the value are left where there was something taken beside it."""
    pieces = {sample.value[start : start + 3] for start in range(len(sample.value) - 2)}
    around = sample.before + sample.after
    return not any(piece in masked and piece not in around for piece in pieces)


def count(samples: Iterable[Sample]) -> Counts:
    """Judge all of them."""
    counts = Counts()
    for sample in samples:
        counts.add(sample)
    return counts


def gates_of(name: str, counts: Counts) -> list[Gate]:
    """What was promised of one set."""
    return [
        Gate(f"{name}: recall, %", counts.recall, RECALL, at_least=True),
        Gate(f"{name}: precision, %", counts.precision, PRECISION, at_least=True),
    ]


def tables_of(name: str, counts: Counts) -> str:
    """By kind: values found, near misses that were taken, and the first text of each that went wrong."""
    found = [
        [kind, f"{of:,}", f"{counts.found[kind]:,}", f"{100 * counts.found[kind] / of:.2f}"]
        for kind, of in counts.values.items()
    ]
    taken = [[kind, f"{of:,}", f"{counts.taken[kind]:,}"] for kind, of in counts.misses.items()]
    examples = [f"- {kind}: `{text}`" for kind, text in counts.examples.items()]
    return "\n".join(
        [
            f"\n## {name}\n",
            table(["value", "of", "found", "recall, %"], found),
            "",
            table(["near miss", "of", "taken out"], taken),
            *(["\nThe first text of each kind that went wrong:\n", *examples] if examples else []),
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Judge all sets and print the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--each", type=int, default=1000, help="samples of every kind")
    parser.add_argument("--seed", type=int, default=1)
    dated_page.add_option(parser, "masking")
    chosen = parser.parse_args(arguments)
    started = time.perf_counter()
    sets = {
        "the set": count(masking_set.samples(chosen.seed, chosen.each)),
        "other forms": count(masking_forms.samples(chosen.seed, chosen.each)),
        "held back": count(masking_held_back.samples(chosen.seed, chosen.each)),
    }
    seconds = time.perf_counter() - started
    gates = [gate for name, counts in sets.items() for gate in gates_of(name, counts)]
    texts = sum(counts.values.total() + counts.misses.total() for counts in sets.values())
    page = "\n".join(
        [
            f"# What the masking of log lines finds, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"- {texts:,} made-up texts in {seconds:.1f} s; numbers with check digits are valid by their standards",
            "\nReproduce: `python -m loadtests.reliability.masking_figures"
            f" --each {chosen.each} --seed {chosen.seed}`\n",
            gates_table(gates),
            *[tables_of(name, counts) for name, counts in sets.items()],
        ]
    )
    dated_page.publish("masking", page, write=chosen.write)
    return int(any(gate.verdict != "pass" for gate in gates))


if __name__ == "__main__":
    sys.exit(main())
