"""Tables and gates say what was measured, what was missed and what was not measured at all."""

import pytest

from loadtests import gates
from loadtests.gates import Gate
from loadtests.report import Results, figures_table, number, render

MEDIANS = {
    gates.OURS: {
        "1 x decode tok/s": 30.0,
        "8 x decode tok/s": 150.0,
        "1 x tok/s": 25.0,
        "8 x tok/s": 90.0,
        "gap ratio": 3.5,
        "API process RSS MB": 200.0,
        "livez s": 2.5,
    },
    gates.GENERATE[0]: {"1 x decode tok/s": 15.0},
    gates.GENERATE[1]: {"1 x decode tok/s": 20.0},
    gates.SERVE[0]: {"8 x tok/s": 45.0, "8 x decode tok/s": 100.0},
    gates.SERVE[1]: {"8 x tok/s": 30.0, "8 x decode tok/s": 120.0},
    gates.EMBEDDED: {"API process RSS MB": 90.0, "livez s": 1.0, "ready s": 16.0},
}


def test_each_gate_is_judged_from_its_own_figures() -> None:
    found = {gate.name: (gate.value, gate.verdict) for gate in gates.gates(MEDIANS, 8)}
    assert found == {
        "1 stream decoding / bare generate": (1.5, "pass"),
        "8 streams decoding / 1 stream": (5.0, "pass"),
        "8 streams / 1 stream": (3.6, "FAIL"),
        "8 streams decoding / transformers serve": (1.25, "FAIL"),
        "8 streams / transformers serve": (2.0, "pass"),
        "longest gap under a long prompt / median step": (3.5, "FAIL"),
        "API process RSS, MB": (90.0, "pass"),
        "the same with the random model's vocabulary, MB": (200.0, "FAIL"),
        "time to /livez, s": (1.0, "pass"),
        "the same with the random model, s": (2.5, "FAIL"),
        "embedded model ready, s": (16.0, "FAIL"),
    }


def test_what_was_not_measured_passes_nothing() -> None:
    assert {gate.verdict for gate in gates.gates({}, 8)} == {"not measured"}


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [(2.0, True, "pass"), (1.9, True, "FAIL"), (2.0, False, "pass"), (2.1, False, "FAIL")],
)
def test_a_bound_itself_is_reached(value: float, at_least: bool, verdict: str) -> None:
    assert Gate("g", value, 2.0, at_least).verdict == verdict


def test_the_table_has_a_row_a_figure_and_a_column_a_subject() -> None:
    samples = {"ours": {"tok/s": [30.0, 10.0, 20.0]}, "peer": {"tok/s": [5.25], "RSS MB": [1234.5]}}
    assert figures_table(samples).splitlines() == [
        "| figure | ours | peer |",
        "| --- | --- | --- |",
        "| tok/s | 20 (10 to 30) | 5.25 |",
        "| RSS MB |  | 1,234 |",
    ]


def test_numbers_are_short_and_without_exponent() -> None:
    assert [number(value) for value in (0.01234, 1.5, 99.96, 12345.6, float("nan"))] == [
        "0.0123", "1.5", "100", "12,346", "-",
    ]  # fmt: skip


def test_the_report_tells_machine_command_losses_and_failures() -> None:
    results = Results()
    results.add(gates.OURS, {"gap ratio": 9.0})
    results.fail(gates.SERVE[0], "It ended with code 1.")
    report = render(results, machine={"cores": "2"}, command="python -m x", notes=["How."], streams=8)
    assert "- cores: 2" in report and "`python -m x`" in report and "How." in report
    assert "| longest gap under a long prompt / median step | 9 | ≤ 3 | FAIL |" in report
    assert "transformers serve bf16, failures: 1" in report and "It ended with code 1." in report
