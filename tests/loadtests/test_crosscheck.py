"""Count and median of each client are held against the service's own; one that differs is named."""

import os
import re
import shutil
from pathlib import Path

import pytest

from app.bench.http_stream import RequestFailed
from loadtests import crosscheck
from loadtests.crosscheck import Client, read_guidellm, read_metrics

REPORT = Path(__file__).with_name("guidellm_report.json")
_NAME = "repartee_time_to_first_token_seconds_bucket"
EXPOSITION = "\n".join(
    [f'{_NAME}{{model="m",stream="true",le="{le}"}} {count}' for le, count in
     [("0.005", 1), ("0.01", 6), ("0.02", 9), ("0.04", 10), ("+Inf", 10)]]
    + [f'{_NAME}{{model="m",stream="false",le="+Inf"}} 99']
    + ['repartee_requests_total{model="m",outcome="ok",task="chat"} 10.0']
    + ['repartee_requests_total{model="m",outcome="rejected",task="chat"} 3.0']
)  # fmt: skip


def test_the_services_counts_are_read() -> None:
    counted = read_metrics(EXPOSITION)
    assert counted.requests == 10 and counted.bounds[counted.median_bucket()] == 0.01
    assert counted.since(counted).requests == 0
    with pytest.raises(RequestFailed):
        read_metrics("up 1")


@pytest.mark.parametrize(
    ("requests", "ttft", "faults"),
    [(10, 0.008, 0), (10, 0.003, 0), (10, 0.015, 0), (10, 0.03, 1), (9, 0.008, 1), (9, 0.03, 2)],
)
def test_counts_are_exact_and_medians_within_one_bucket(requests: int, ttft: float, faults: int) -> None:
    assert len(Client("c", requests, ttft, read_metrics(EXPOSITION)).faults) == faults


def test_a_report_of_guidellm_is_read() -> None:
    """Of a real run of 0.8.1, without what is not read here."""
    assert read_guidellm(REPORT.read_bytes()) == (40, pytest.approx(0.0065026, rel=1e-4))


@pytest.mark.parametrize("report", [b"", b"[]", b'{"benchmarks": []}', b'{"benchmarks": [{"metrics": {}}]}'])
def test_another_report_is_refused(report: bytes) -> None:
    with pytest.raises(RequestFailed):
        read_guidellm(report)


def test_a_report_without_an_answer_is_refused() -> None:
    """Of no values guidellm knows no percentiles."""
    text = REPORT.read_text()
    with pytest.raises(RequestFailed):
        read_guidellm(re.sub(r'"p50": [0-9.]+', '"p50": null', text).encode())


def test_without_guidellm_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert crosscheck.main(["--guidellm", "/nowhere/guidellm"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_both_clients_and_the_service_agree(tmp_path: Path) -> None:
    program = os.environ.get("GUIDELLM") or shutil.which("guidellm")
    if not program:
        missing = "guidellm is neither on PATH nor named by GUIDELLM; `make .venv/.guidellm` installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    assert crosscheck.main(["--guidellm", program, "--requests", "40", "--out", str(tmp_path)]) == 0
