"""Each figure with a bar is met by a run that keeps it, and missed by one that does not."""

from types import SimpleNamespace
from typing import cast

import pytest

from loadtests.reliability.chaos.history import Answer, Event, Exchange, Fault, Probe
from loadtests.reliability.chaos.life import Life
from loadtests.reliability.chaos.report import figures, render
from loadtests.reliability.chaos.run import Run


def life(
    *,
    told: float = 0.1,
    serving: float = 3.0,
    text: str = "Hello",
    drained: float = 4.0,
    code: int | None = 0,
    kind: str = "kill",
    replaced: float = 2.0,
    hung: bool = False,
) -> Life:
    """One with one fault of the engine at 100, and a stream that was open then; instants count from there."""
    fault = Fault(kind, 100.0, 110.0, 100.0 + replaced, 100.0 + serving)  # type: ignore[arg-type]
    events = [
        Event(99.5, "status", "200"),
        Event(103.0, "text", text),
        Event(103.0, "done"),
        Event(103.1, "end"),
    ]
    run = SimpleNamespace(
        exchanges=[Exchange("good", "q", True, 8, 99.0, events)],
        answers={"q": Answer("Hello", 2)},
        faults=[fault, Fault("drain", 200.0, 200.0 + drained)],
        leavers=3,
        probe=SimpleNamespace(
            seen=[Probe(99.9, 99.91, True), Probe(100.0 + told - 0.01, 100.0 + told, False)]
        ),
    )
    return Life(cast(Run, run), {}, code, hung)


def verdicts(*lives: Life) -> dict[str, str]:
    """By the figure's name."""
    return {figure.name: figure.verdict for figure in figures(lives)}


def test_a_run_that_keeps_every_bar() -> None:
    found = verdicts(life(), life(kind="hang", told=2.6, replaced=8.5, serving=11.0, hung=True, drained=9.5))
    assert set(found.values()) == {"met"}


@pytest.mark.parametrize(
    ("missed", "name"),
    [
        (life(told=0.3), "engine killed: not ready"),
        (life(serving=5.1), "engine killed: serving again"),
        (life(text="Hell"), "engine killed: open streams that end byte-equal"),
        (life(kind="hang", told=3.1, replaced=8.0), "engine hangs: not ready"),
        (life(kind="hang", told=2.6, replaced=10.1), "engine hangs: another process"),
        (life(drained=10.1), "drain: exit after"),
        (life(drained=10.1, hung=True), "drain with an engine that hangs: exit after"),
        (life(code=1), "drain: exit code"),
        (life(code=None), "drain: exit code"),
    ],
)
def test_a_bar_that_is_missed(missed: Life, name: str) -> None:
    assert verdicts(missed)[name] == "MISSED"


@pytest.mark.parametrize(("sent", "verdict"), [(98.0, "MISSED"), (99.8, "met")])
def test_a_stream_that_waited_and_was_refused_has_not_ended(sent: float, verdict: str) -> None:
    hurt = life()
    events = [Event(100.5, "status", "503"), Event(100.5, "error", "engine_restarting"), Event(100.5, "end")]
    hurt.run.exchanges.append(Exchange("good", "q", True, 8, sent, events))
    assert verdicts(hurt)["engine killed: open streams that end byte-equal"] == verdict


def test_the_worst_life_counts() -> None:
    assert verdicts(life(), life(serving=6.0))["engine killed: serving again"] == "MISSED"


def test_a_lie_about_readiness_misses_its_bar() -> None:
    lies = life()
    lies.run.probe.seen.append(Probe(101.0, 101.01, True))
    assert verdicts(lies)["ready claimed without an engine"] == "MISSED"


def test_what_was_not_tried_is_not_met() -> None:
    nothing = life()
    nothing.run.faults.clear()
    assert "met" not in {verdict for name, verdict in verdicts(nothing).items() if "exit code" not in name}


def test_violations_are_on_the_page() -> None:
    broken = Life(life().run, {"text is the fault-free one": ["good, q at 1.00 differs"] * 9}, 0)
    page = render([broken], {"cores": "2"}, "python -m loadtests.reliability.chaos")
    assert "**text is the fault-free one: violated 9 times.**" in page
    assert page.count("- text is the fault-free one: good, q at 1.00 differs") == 5
    assert "No rule" not in page
