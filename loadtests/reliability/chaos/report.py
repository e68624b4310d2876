"""The page of a chaos run: what was done, each figure against its bar, each rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from app.bench.figures import percentile
from app.bench.markdown import number, table
from loadtests.reliability.chaos import rules
from loadtests.reliability.chaos.faults import HEAVY, LIGHT
from loadtests.reliability.chaos.history import Fault
from loadtests.reliability.chaos.life import Life
from loadtests.reliability.chaos.probes import INTERVAL_SECONDS
from loadtests.reliability.chaos.service import DRAIN_DELAY_SECONDS, DRAIN_SECONDS, GOOD

_DRAINED_SECONDS = DRAIN_DELAY_SECONDS + DRAIN_SECONDS + 1.0
_LINES = 5
"""Violations of one rule that are shown."""


@dataclass(frozen=True)
class Figure:
    """One row.

    Attributes:
        measured: the worst.
        within: whether the bar is kept; None where there was nothing to measure.
    """

    name: str
    bar: str
    measured: str
    within: bool | None

    @property
    def verdict(self) -> str:
        """In one word."""
        return {True: "met", False: "MISSED", None: "not measured"}[self.within]


def figures(lives: Sequence[Life]) -> list[Figure]:
    """Those that have a bar, over all lives."""
    finds = [_not_ready_after(life, fault) for life in lives for fault in life.faults("kill")]
    stuck = [_not_ready_after(life, fault) for life in lives for fault in life.faults("hang")]
    kills = [fault for life in lives for fault in life.faults("kill")]
    hangs = [fault for life in lives for fault in life.faults("hang")]
    drains = {
        hung: [
            fault.ended - fault.began
            for life in lives
            if life.engine_hung is hung
            for fault in life.faults("drain")
        ]
        for hung in (False, True)
    }
    lies = [line for life in lives for line in rules.readiness_is_true(life.run.probe.seen, life.run.faults)]
    told = len(finds) + len(stuck)
    return [
        _worst("engine killed: not ready", rules.DETECTED_SECONDS, finds),
        _worst("engine killed: serving again", 5.0, [_since(fault, fault.serving) for fault in kills]),
        _streams(lives),
        _worst("engine hangs: not ready", rules.STUCK_SECONDS, stuck),
        _worst("engine hangs: another process", 10.0, [_since(fault, fault.replaced) for fault in hangs]),
        _worst("engine hangs: serving again", None, [_since(fault, fault.serving) for fault in hangs]),
        Figure("ready claimed without an engine", "0", str(len(lies)), not lies if told else None),
        _worst("drain: exit after", _DRAINED_SECONDS, drains[False]),
        _worst("drain with an engine that hangs: exit after", _DRAINED_SECONDS, drains[True]),
        Figure(
            "drain: exit code",
            "0",
            " ".join(str(life.exit_code) for life in lives),
            all(life.exit_code == 0 for life in lives),
        ),
    ]


def _not_ready_after(life: Life, fault: Fault) -> float:
    """Seconds until the probe was told so; infinite where it never was."""
    found = (probe.got for probe in life.run.probe.seen if probe.sent > fault.began and not probe.ready)
    return next(found, float("inf")) - fault.began


def _since(fault: Fault, at: float | None) -> float:
    return float("inf") if at is None else at - fault.began


def _worst(name: str, bar: float | None, values: Sequence[float]) -> Figure:
    limit = "-" if bar is None else f"≤ {bar:g} s"
    if not values:
        return Figure(name, limit, "-", None)
    shown = f"{number(max(values))} s (median {number(percentile(values, 0.5))}, n {len(values)})"
    return Figure(name, limit, shown, True if bar is None else max(values) <= bar)


def _streams(lives: Sequence[Life]) -> Figure:
    """Of the good streams that were open when an engine was killed; one let in and then refused has not ended."""
    met = [
        (exchange, life)
        for life in lives
        for exchange in life.run.exchanges
        if exchange.tenant == GOOD
        and exchange.stream
        and any(exchange.began < fault.began < exchange.ended for fault in life.faults("kill"))
        and (exchange.fate != "refused" or exchange.refused_late)
    ]
    whole = sum(
        exchange.fate == "completed" and exchange.text == life.run.answers[exchange.question].text
        for exchange, life in met
    )
    share = whole / len(met) if met else None
    name = "engine killed: open streams that end byte-equal"
    return Figure(name, "≥ 99 %", f"{whole} of {len(met)}", None if share is None else share >= 0.99)


def render(lives: Sequence[Life], facts: Mapping[str, str], command: str) -> str:
    """The dated page."""
    done = {
        kind: [fault for life in lives for fault in life.faults(kind)]
        for kind in (*HEAVY, *LIGHT)
    }  # fmt: skip
    fates = [exchange.fate for life in lives for exchange in life.run.exchanges]
    rows = [[one.name, one.bar, one.measured, one.verdict] for one in figures(lives)]
    broken: dict[str, list[str]] = {}
    for life in lives:
        for rule, lines in life.violations.items():
            broken.setdefault(rule, []).extend(lines)
    verdict = [f"**{rule}: violated {len(lines)} times.**" for rule, lines in broken.items()]
    details = [f"- {rule}: {line}" for rule, lines in broken.items() for line in lines[:_LINES]]
    leavers = sum(life.run.leavers for life in lives)
    return "\n".join(
        [
            f"# Chaos, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in facts.items()],
            f"\nReproduce: `{command}`\n",
            f"{len(lives)} services, one after the other, the last with a log on a device that is always full and "
            "an engine that hangs in its drain. "
            f"Requests whose whole story is known: {len(fates):,} "
            f"({', '.join(f'{fates.count(fate):,} {fate}' for fate in sorted(set(fates)))}); clients that left or read "
            f"nothing: {leavers:,}.\n",
            table(["property, the worst", "bar", "measured", "verdict"], rows),
            f"\nReadiness was looked at every {INTERVAL_SECONDS * 1e3:g} ms, so a figure of it may be too great by so "
            "much and one answer. Serving again is the first text or decision that a client got from the other engine: "
            f"`/readyz` lies where it is ready more than {rules.FIRST_ANSWER_SECONDS:g} s before that.\n",
            table(
                ["fault", "times", "of the last"],
                [[kind, str(len(found)), found[-1].note if found else ""] for kind, found in done.items()],
            ),
            "",
            *(verdict or ["**No rule of the history checker was violated.**"]),
            *details,
        ]
    )
