"""The watch over a healthy service: it finds what fires, and says so."""

from contextlib import nullcontext

import pytest

from loadtests import healthy_run
from loadtests.healthy_run import WATCHDOG, Watched, main, render, too_slow, watched_over
from loadtests.processes import free_port
from tests.deploy.debian_tools import require
from tests.deploy.prometheus_server import running_prometheus, scrape

RULES = """
groups:
  - name: test
    rules:
      - alert: Fires
        expr: vector(1)
      - alert: Begins
        expr: vector(1)
        for: 1h
      - record: repartee:slo_error_ratio:rate5m
        expr: label_replace(label_replace(vector(0.004), "slo", "ttft", "", ""), "task", "chat", "", "")
"""
COMMAND = "python -m loadtests.healthy_run"


def test_a_service_under_a_light_load_alerts_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    require("prometheus", "prometheus")
    code = main(["--minutes", "0.1", "--rate", "5"])
    assert code in (0, healthy_run.EXIT_VOID)  # a busy machine makes the client late, and no alert
    report = capsys.readouterr().out
    assert "**No alert fired but the Watchdog.**" in report
    assert f"Reproduce: `{COMMAND} --minutes 0.1 --rate 5`" in report
    assert "| availability | chat | 0 % | 1.44 % |" in report


def test_it_finds_what_fired_and_what_began_to() -> None:
    config = scrape(f"127.0.0.1:{free_port()}", "200ms") | {"rule_files": ["rules.yml"]}
    with running_prometheus(config, files={"rules.yml": RULES}) as prometheus:
        prometheus.wait_for('ALERTS{alertname="Begins"}', 20)
        found = watched_over(prometheus, 20)
    assert found == Watched(frozenset({"Fires"}), frozenset({"Begins"}), {("ttft", "chat"): 0.004})
    report = render(found, [], {"cores": "2"}, COMMAND, 30)
    assert "**Fired without need: Fires.**" in report and "did not last: Begins." in report
    assert "| ttft | chat | 0.4 % | 14.4 % |" in report


@pytest.mark.parametrize(
    ("fired", "code"), [({WATCHDOG}, 0), ({WATCHDOG, "ReparteeErrors"}, 1), (set[str](), 2)]
)
def test_the_exit_code(
    fired: set[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the Watchdog the silence of the others says nothing."""
    nowhere = healthy_run.target.Target("http://127.0.0.1:9/v1", "none")
    monkeypatch.setattr(healthy_run.target, "target", lambda _: nullcontext(nowhere))
    monkeypatch.setattr(healthy_run, "_watch", lambda *_: Watched(frozenset(fired), frozenset(), {}))
    assert main([]) == code
    assert ("no rule was evaluated" in capsys.readouterr().err) == (code == 2)


def test_alerts_that_wait_for_longer_than_the_run_are_named() -> None:
    assert "ReparteeDown" in too_slow(0.5) and "ReparteeDown" not in too_slow(1)
    assert too_slow(30) == []


def test_a_service_that_does_not_start_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPARTEE_MODEL", "/nowhere/here")
    assert main([]) == 2
    assert "/nowhere/here" in capsys.readouterr().err


def test_without_prometheus_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = healthy_run.target.Target("http://127.0.0.1:9/v1", "none")
    monkeypatch.setattr(healthy_run.target, "target", lambda _: nullcontext(nowhere))
    monkeypatch.setenv("PATH", "")
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "prometheus is missing" in line


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--rate", "x"], ["--minutes", "1e9"]])
def test_nonsense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
