"""What a harness prints becomes the same figures as a server's streams give."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from loadtests.cases import Figures
from loadtests.in_process_peer import make_runs
from loadtests.peer_subjects import _in_process
from loadtests.plan import Plan


def test_runs_are_made_in_order_after_a_warm_up(capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def generate(prompts: list[list[int]], new_tokens: int) -> list[list[float]]:
        asked.append((len(prompts), len(prompts[0]), new_tokens))
        return [[1.0, 2.0] for _ in prompts]

    make_runs("peer 1.0", generate, "[[1, 16, 4], [3, 8, 2]]")
    told = json.loads(capsys.readouterr().out)
    assert len(asked) == 3 and asked[1:] == [(1, 16, 4), (3, 8, 2)]
    assert told["version"] == "peer 1.0" and told["resident"] > 0
    assert [len(run["streams"]) for run in told["runs"]] == [1, 3]


def test_figures_come_from_the_instants() -> None:
    harness = """
    import json, sys
    runs = json.loads(sys.argv[1])
    def streams(count, new):
        return [[0.1 * prompt + 2 + token for token in range(new)] for prompt in range(count)]
    made = [{"sent": 1.0, "streams": streams(count, new)} for count, prompt, new in runs]
    print(json.dumps({"version": "v", "resident": 1 << 20, "runs": made}))
    print("a last word")
    """
    plan = Plan(Path("m"), streams=2, prompt_lengths=(4, 6), new_tokens=5, start_seconds=60)
    figures: Figures = _in_process(plan, [sys.executable, "-c", textwrap.dedent(harness)])
    assert figures["RSS MB"] == 1
    assert figures["1 x decode tok/s"] == pytest.approx(1)
    assert figures["2 x decode tok/s"] == pytest.approx(2, rel=0.2)
    assert figures["4 x TTFT ms"] == pytest.approx(1150)
    assert figures["TTFT ms, 4 tokens"] == figures["TTFT ms, 6 tokens"] == pytest.approx(1000)
