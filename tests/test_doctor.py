"""`python -m app doctor`: every check with what is well and what is not, and the exit code."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app import doctor
from app.engine.config import EngineConfig
from app.engine.finding import Finding
from app.keys import new_key
from app.settings import EMBEDDED_MODEL, PREFIX
from tests.collector import no_collector, silent_collector
from tests.toy_tokenizer import toy_directory

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> list[EngineConfig]:
    """Only the settings of the test, and no process of the engine: what it would be asked is kept."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REPARTEE_PORT", "0")
    monkeypatch.setenv("REPARTEE_MODEL", str(toy_directory()))
    asked: list[EngineConfig] = []

    def engine(config: EngineConfig) -> Iterator[Finding]:
        asked.append(config)
        yield Finding("weights", "ok", "few")

    monkeypatch.setattr(doctor, "_engine", engine)
    return asked


def found() -> dict[str, Finding]:
    return {finding.what: finding for finding in doctor.findings()}


def write_keys(path: Path, *scopes: str) -> Path:
    _, entry = new_key("acme")
    path.write_text(
        json.dumps([{"id": entry.id, "sha256": entry.sha256, "tenant": "acme", "scopes": scopes or ["chat"]}])
    )
    return path


def test_where_all_is_well_the_code_is_0(
    capsys: pytest.CaptureFixture[str], clean_environment: list[EngineConfig]
) -> None:
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(lines)
    things = ("libraries", "settings", "address", "keys", "objectives", "model files", "weights")
    assert [line[9:25].strip() for line in lines] == list(things)
    assert clean_environment[0].model == str(toy_directory())


def test_a_failure_is_code_1_and_the_rest_is_still_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPARTEE_MODEL", "/nowhere/at/all")
    monkeypatch.setenv("REPARTEE_API_KEYS_FILE", "/nowhere/keys.json")
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert printed.count("failed ") == 2 and "weights" in printed


@pytest.mark.parametrize(("name", "value"), [("REPARTEE_PROT", "1"), ("REPARTEE_MAX_CHOICES", "0")])
def test_wrong_settings_end_the_check(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    findings = found()
    assert list(findings) == ["libraries", "settings"]
    assert findings["settings"].state == "failed" and name in findings["settings"].detail


def test_a_port_in_use_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("REPARTEE_PORT", str(other.getsockname()[1]))
        finding = found()["address"]
    assert finding.state == "failed" and "set another port" in finding.detail


def test_the_port_is_free_again_after_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    monkeypatch.setenv("REPARTEE_PORT", str(port))
    assert found()["address"].state == "ok"
    socket.create_server(("127.0.0.1", port)).close()


def test_an_address_open_to_strangers_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARTEE_HOST", "0.0.0.0")
    findings = found()
    assert findings["address"].state == "failed" and "this machine alone" not in findings["keys"].detail
    monkeypatch.setenv("REPARTEE_ALLOW_OPEN", "true")
    findings = found()
    assert findings["address"].state == "ok" and "anyone" in findings["keys"].detail


def test_keys_are_read_and_missed_for_prometheus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REPARTEE_API_KEYS_FILE", str(write_keys(tmp_path / "keys.json")))
    finding = found()["keys"]
    assert finding.state == "warning" and "--scope metrics" in finding.detail
    write_keys(tmp_path / "keys.json", "chat", "metrics")
    assert found()["keys"].state == "ok"
    (tmp_path / "keys.json").write_text("[]")
    finding = found()["keys"]
    assert finding.state == "failed" and "keys new" in finding.detail


def test_expired_keys_are_told_and_are_a_failure_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    monkeypatch.setenv("REPARTEE_API_KEYS_FILE", str(file))
    old, new = (
        {"id": name, "sha256": 64 * digit, "tenant": "acme", "scopes": ["chat", "metrics"], "expires": day}
        for name, digit, day in (("old", "a", "2020-01-01"), ("new", "b", "2999-01-01"))
    )
    file.write_text(json.dumps([old, new]))
    finding = found()["keys"]
    assert finding.state == "warning" and "1 in" in finding.detail and "expired: old" in finding.detail
    file.write_text(json.dumps([old]))
    finding = found()["keys"]
    assert finding.state == "failed" and "Nobody" in finding.detail


def test_a_policy_that_cannot_be_looked_at_without_a_model_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REPARTEE_MODEL", "/nowhere/at/all")
    monkeypatch.setenv("REPARTEE_POLICY_FILE", str(tmp_path / "policy.toml"))
    assert found()["policy"].state == "warning"


def test_a_table_of_objectives_that_cannot_be_used_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "slos.toml").write_text("slo = 1")
    monkeypatch.setenv("REPARTEE_SLO_FILE", str(tmp_path / "slos.toml"))
    finding = found()["objectives"]
    assert finding.state == "failed" and "slos.toml" in finding.detail


def test_a_collector_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_collector() as endpoint:
        monkeypatch.setenv("REPARTEE_TRACES_ENDPOINT", endpoint)
        assert found()["traces"].state == "ok"
    monkeypatch.setenv("REPARTEE_TRACES_ENDPOINT", no_collector())
    finding = found()["traces"]
    assert finding.state == "warning" and "REPARTEE_TRACES_ENDPOINT" in finding.detail


def test_a_collector_whose_name_is_none_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARTEE_TRACES_ENDPOINT", "http://a..b:4318")
    finding = found()["traces"]
    assert finding.state == "warning" and "REPARTEE_TRACES_ENDPOINT" in finding.detail


def test_traces_that_cannot_be_made_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_collector() as endpoint:
        monkeypatch.setenv("REPARTEE_TRACES_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
        finding = found()["traces"]
    assert finding.state == "failed"
    assert finding.detail.startswith("REPARTEE_TRACES_ENDPOINT is set, but traces cannot be made: ")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "[]"),
        ("decisions.json", "{"),
        ("generation_config.json", "{"),
    ],
)
def test_a_broken_file_of_the_model_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    clean_environment: list[EngineConfig],
    file: str,
    content: str,
) -> None:
    shutil.copytree(toy_directory(), tmp_path / "toy")
    (tmp_path / "toy" / file).write_text(content)
    monkeypatch.setenv("REPARTEE_MODEL", str(tmp_path / "toy"))
    finding = found()["model files"]
    assert finding.state == "failed" and "REPARTEE_MODEL" in finding.detail and "\n" not in finding.detail
    assert clean_environment[0].model == ""


def test_a_directory_without_a_tokenizer_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REPARTEE_MODEL", str(tmp_path))
    assert found()["model files"].state == "failed"


def test_a_model_of_the_hub_is_not_fetched_for_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", "/nowhere")
    monkeypatch.setenv("REPARTEE_MODEL", "maker/small-1b")
    finding = found()["model files"]
    assert finding.state == "warning" and "not on this machine yet" in finding.detail


def test_answers_that_cannot_be_used_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARTEE_ANSWERS_FILE", "/nowhere/answers.txt")
    assert found()["known answers"].state == "failed"


def test_libraries_are_compared_with_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "runtime.txt"
    lock.write_text(
        "# a comment\npydantic==0.0.1 \\\n    --hash=sha256:00\n    # via x\nno-such-library==1.0\n"
        "elsewhere==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )
    finding = doctor._libraries(lock)
    assert finding.state == "warning" and "make serve" in finding.detail
    assert "pydantic is " in finding.detail and "no-such-library is missing" in finding.detail
    assert "elsewhere" not in finding.detail
    assert doctor._libraries(tmp_path / "nowhere").state == "warning"


def test_an_engine_check_that_breaks_off_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho \'{"what": "processor", "state": "ok", "detail": "x"}\'\nexit 9\n')
    program.chmod(0o755)
    monkeypatch.setattr("app.doctor.sys.executable", str(program))
    processor, engine = doctor._engine(EngineConfig(model=""))
    assert processor.what == "processor"
    assert engine.state == "failed" and "code 9" in engine.detail


def test_ctrl_c_ends_the_check_and_its_process_without_a_stack_trace() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with subprocess.Popen(
        [sys.executable, "-m", "app", "doctor"],
        cwd=ROOT,
        env=environment | {"REPARTEE_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        while "processor" not in run.stdout.readline():  # the first finding of the engine's process
            assert run.poll() is None
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(30) == 130
        left = [process.pid for process in psutil.process_iter() if _session(process.pid) == run.pid]
        assert (left, run.stderr.read()) == ([], "")


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def test_the_real_command_finds_the_embedded_model_well_and_loads_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from app.__main__ import main; code = main(['doctor']);"
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment | {"REPARTEE_PORT": "0"},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr.strip()) == (0, "False"), run.stdout
    assert EMBEDDED_MODEL in run.stdout and "KV cache" in run.stdout
