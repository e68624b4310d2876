"""Tables and gates say what was measured, what was missed and what was not measured at all."""

import pytest

from app.bench.markdown import number
from loadtests import gates
from loadtests.gates import Gate
from loadtests.report import Results, Samples, figures_table, render

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
PEER_MEDIANS = {
    gates.OURS: {"p99 gap ratio": 3.1},
    gates.OURS_8: {
        "1 x decode tok/s": 80.0,
        "8 x decode tok/s": 350.0,
        "TTFT ms, 128 tokens": 30.0,
        "TTFT ms, 512 tokens": 40.0,
        "TTFT ms, 2,048 tokens": 35.0,
        "p99 gap ratio": 2.0,
    },
    gates.OURS_4: {
        "1 x decode tok/s": 140.0,
        "8 x decode tok/s": 800.0,
        "16 x decode tok/s": 900.0,
        "TTFT ms, 128 tokens": 50.0,
        "TTFT ms, 512 tokens": 51.0,
        "TTFT ms, 2,048 tokens": 20.0,
        "RSS MB": 900.0,
        "p99 gap ratio": 1.5,
    },
    gates.LLAMA_8: {
        "1 x decode tok/s": 50.0,
        "8 x decode tok/s": 100.0,
        "TTFT ms, 128 tokens": 100.0,
        "TTFT ms, 512 tokens": 100.0,
        "TTFT ms, 2,048 tokens": 100.0,
    },
    gates.LLAMA_4: {
        "1 x decode tok/s": 100.0,
        "8 x decode tok/s": 200.0,
        "16 x decode tok/s": 250.0,
        "TTFT ms, 128 tokens": 100.0,
        "TTFT ms, 512 tokens": 100.0,
        "TTFT ms, 2,048 tokens": 100.0,
        "RSS MB": 600.0,
    },
    gates.OPENVINO[0]: {"8 x decode tok/s": 400.0, "16 x decode tok/s": 450.0},
    gates.OPENVINO[1]: {"8 x decode tok/s": 300.0, "16 x decode tok/s": 600.0},
    gates.ENGINE_8: {"share of bandwidth": 0.9},
    gates.EMBEDDED_IDS: {"1 x decode tok/s": 4000.0, "16 x decode tok/s": 12000.0},
    gates.LLAMA_EMBEDDED[0]: {"1 x decode tok/s": 1000.0, "16 x decode tok/s": 5000.0},
    gates.LLAMA_EMBEDDED[1]: {"1 x decode tok/s": 2000.0, "16 x decode tok/s": 3000.0},
    gates.EMBEDDED_ENGINE: {"1 x decode tok/s": 9000.0},
    gates.LLAMA_BENCH[0]: {"1 x decode tok/s": 3000.0},
    gates.LLAMA_BENCH[1]: {"1 x decode tok/s": 2500.0},
    gates.DECISIONS: {"decision p50 ms": 6.0, "16 clients, decisions/s": 500.0},
    gates.SERVE_DECISIONS: {"16 clients, decisions/s": 40.0},
}


def test_each_gate_is_judged_from_its_own_figures() -> None:
    judged = [gate for gate in gates.gates(MEDIANS, 8) if gate.verdict != "not measured"]
    assert {gate.name: (gate.value, gate.verdict) for gate in judged} == {
        "1 stream decoding / bare generate": (1.5, "pass"),
        "8 streams decoding / 1 stream": (5.0, "pass"),
        "8 streams / 1 stream": (3.6, "FAIL"),
        "8 streams decoding / transformers serve": (1.25, "FAIL"),
        "8 streams / transformers serve": (2.0, "pass"),
        "longest gap under long prompts / median step": (3.5, "FAIL"),
        "API process RSS, MB": (90.0, "pass"),
        "the same with the random model's vocabulary, MB": (200.0, "FAIL"),
        "time to /livez, s": (1.0, "pass"),
        "the same with the random model, s": (2.5, "FAIL"),
        "embedded model ready, s": (16.0, "FAIL"),
    }


def test_each_gate_against_a_peer_is_judged_from_its_own_figures() -> None:
    judged = [gate for gate in gates.gates(PEER_MEDIANS, 8) if gate.verdict != "not measured"]
    assert {gate.name: (pytest.approx(gate.value), gate.bound, gate.verdict) for gate in judged} == {
        "4 bits, 1 stream / llama-server Q4_0": (1.4, 1.5, "FAIL"),
        "4 bits, 8 streams / llama-server Q4_0": (4.0, 3.5, "pass"),
        "4 bits, 16 streams / llama-server Q4_0": (3.6, 3.0, "pass"),
        "4 bits, 8 streams / OpenVINO GenAI": (2.0, 1.6, "pass"),
        "4 bits, 16 streams / OpenVINO GenAI": (1.5, 1.6, "FAIL"),
        "8 bits, 1 stream / llama-server Q8_0": (1.6, 1.35, "pass"),
        "8 bits, 8 streams / llama-server Q8_0": (3.5, 3.5, "pass"),
        "8 bits, share of memory bandwidth": (0.9, 0.85, "pass"),
        "8 bits, TTFT of 128 tokens / llama-server Q8_0": (0.3, 0.35, "pass"),
        "8 bits, TTFT of 512 tokens / llama-server Q8_0": (0.4, 0.35, "FAIL"),
        "8 bits, TTFT of 2,048 tokens / llama-server Q8_0": (0.35, 0.35, "pass"),
        "4 bits, TTFT of 128 tokens / llama-server Q4_0": (0.5, 0.5, "pass"),
        "4 bits, TTFT of 512 tokens / llama-server Q4_0": (0.51, 0.5, "FAIL"),
        "4 bits, TTFT of 2,048 tokens / llama-server Q4_0": (0.2, 0.5, "pass"),
        "4 bits, RSS / llama-server Q4_0": (1.5, 1.0, "FAIL"),
        "embedded model, 1 stream / llama-server": (2.0, 1.8, "pass"),
        "embedded model, 16 streams / llama-server": (2.4, 3.0, "FAIL"),
        "embedded model, engine / llama-bench": (3.0, 3.0, "pass"),
        "decision, 1 client, p50 ms": (6.0, 5.0, "FAIL"),
        "decisions, 16 clients / transformers serve": (12.5, 10.0, "pass"),
        "ours int8, p99 gap under long prompts / median": (2.0, 3.0, "pass"),
        "ours int4, p99 gap under long prompts / median": (1.5, 3.0, "pass"),
        "ours bf16, p99 gap under long prompts / median": (3.1, 3.0, "FAIL"),
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


def test_the_column_of_an_absent_peer_says_so() -> None:
    samples: Samples = {"ours": {"tok/s": [30.0]}, "peer": {}, "other": {}}
    assert figures_table(samples, {"peer"}).splitlines()[2:] == ["| tok/s | 30 | not there |  |"]


def test_numbers_are_short_and_without_exponent() -> None:
    assert [number(value) for value in (0.01234, 1.5, 99.96, 12345.6, float("nan"))] == [
        "0.0123", "1.5", "100", "12,346", "-",
    ]  # fmt: skip


def test_the_report_tells_machine_command_losses_and_failures() -> None:
    results = Results()
    results.add(gates.OURS, {"gap ratio": 9.0})
    results.fail(gates.SERVE[0], "It ended with code 1.")
    results.absent.add("peer")
    report = render(
        results,
        groups={"All": [gates.OURS, gates.SERVE[0], "peer"], "Nothing was measured here": ["peer"]},
        machine={"cores": "2"},
        command="python -m x",
        notes=["How."],
        peers="| peer |",
        streams=8,
    )
    assert (
        "### All\n\n| figure | ours bf16 | peer |\n" in report
        and "Nothing was measured here" not in report
        and "| peer |" in report
    )
    assert "- cores: 2" in report and "`python -m x`" in report and "How." in report
    assert "| longest gap under long prompts / median step | 9 | ≤ 3 | FAIL |" in report
    assert "transformers serve bf16, failures: 1" in report and "It ended with code 1." in report
