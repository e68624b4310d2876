"""The figures that a run has to reach, computed from medians."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

OURS = "ours bf16"
EMBEDDED = "ours, embedded model"
GENERATE = ("generate bf16", "generate fp32")
SERVE = ("transformers serve bf16", "transformers serve fp32")
_WHOLE = "tok/s"  # prefill included
_DECODING = "decode tok/s"

Medians = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Gate:
    """A bound and what was measured against it; `value` is NaN where something was not measured."""

    name: str
    value: float
    bound: float
    at_least: bool

    @property
    def verdict(self) -> str:
        """`pass`, `FAIL` or `not measured`."""
        if math.isnan(self.value):
            return "not measured"
        reached = self.value >= self.bound if self.at_least else self.value <= self.bound
        return "pass" if reached else "FAIL"


def gates(medians: Medians, streams: int) -> list[Gate]:
    """Every gate; a peer counts with the faster of its number formats.

    What holds for decoding holds with prefill too: otherwise a slow prefill could hide behind fast decoding.
    """

    def of(subject: str, figure: str) -> float:
        return medians.get(subject, {}).get(figure, math.nan)

    def best(subjects: tuple[str, ...], figure: str) -> float:
        values = [of(subject, figure) for subject in subjects]
        return max((value for value in values if not math.isnan(value)), default=math.nan)

    def many(figure: str) -> float:
        return of(OURS, f"{streams} x {figure}")

    def served(figure: str) -> float:
        return best(SERVE, f"{streams} x {figure}")

    one = of(OURS, f"1 x {_DECODING}")
    return [
        Gate("1 stream decoding / bare generate", one / best(GENERATE, f"1 x {_DECODING}"), 0.9, True),
        Gate(f"{streams} streams decoding / 1 stream", many(_DECODING) / one, 4.0, True),
        Gate(f"{streams} streams / 1 stream", many(_WHOLE) / of(OURS, f"1 x {_WHOLE}"), 4.0, True),
        Gate(
            f"{streams} streams decoding / transformers serve", many(_DECODING) / served(_DECODING), 1.5, True
        ),
        Gate(f"{streams} streams / transformers serve", many(_WHOLE) / served(_WHOLE), 1.5, True),
        Gate("longest gap under a long prompt / median step", of(OURS, "gap ratio"), 3.0, False),
        Gate("API process RSS, MB", of(EMBEDDED, "API process RSS MB"), 150.0, False),
        Gate("the same with the random model's vocabulary, MB", of(OURS, "API process RSS MB"), 150.0, False),
        Gate("time to /livez, s", of(EMBEDDED, "livez s"), 2.0, False),
        Gate("the same with the random model, s", of(OURS, "livez s"), 2.0, False),
        Gate("embedded model ready, s", of(EMBEDDED, "ready s"), 15.0, False),
    ]
