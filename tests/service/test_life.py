"""The life of a service: alive at once, honest while its engine is gone, whole streams at the end."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest

from tests.service.running_service import MODEL, ROOT, Service, running_service

STREAM = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me about my refund."}],
    "stream": True,
    "ignore_eos": True,
    "max_tokens": 1500,
    "temperature": 0,
}


@pytest.fixture
def own_service() -> Iterator[Service]:
    with running_service() as running:
        yield running


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
def test_a_stream_goes_on_where_its_engine_ended(own_service: Service, sig: signal.Signals) -> None:
    service = own_service
    url = f"{service.url}/v1/chat/completions"
    undisturbed = httpx.post(url, json=STREAM | {"stream": False}, timeout=60).json()
    reader = Reader(service)
    os.kill(service.engine_process, sig)
    while service.readiness() == 200:
        time.sleep(0.01)
    assert httpx.get(f"{service.url}/livez").status_code == 200
    if sig is signal.SIGKILL:
        refused = httpx.post(url, json=STREAM | {"stream": False, "max_tokens": 3})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_restarting")
        assert int(refused.headers["retry-after"]) >= 1
    reader.join(60)
    assert reader.lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in reader.lines[:-1]]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text == undisturbed["choices"][0]["message"]["content"]
    service.wait_ready()
    again = httpx.post(url, json=STREAM | {"stream": False, "max_tokens": 3}, timeout=60)
    assert again.json()["usage"]["completion_tokens"] == 3


class Reader(threading.Thread):
    """Reads one stream to its end; the engine is held after its first line, so that the stream is open."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.cut = False
        self._service, self._first = service, threading.Event()
        self.start()
        assert self._first.wait(30)

    def run(self) -> None:
        try:
            self._read()
        except httpx.RemoteProtocolError:
            self.cut = True

    def _read(self) -> None:
        url = f"{self._service.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=STREAM, timeout=60) as answer:
            for line in answer.iter_lines():
                if not self.lines:
                    self._service.hold_engine()
                if line and not line.startswith(":"):  # a silence of 15 seconds brings a comment
                    self.lines.append(line)
                self._first.set()


def test_sigterm_lets_an_open_stream_end_and_exits_with_zero(own_service: Service) -> None:
    service = own_service
    reader = Reader(service)
    service.begin_end()
    refused = httpx.post(f"{service.url}/v1/chat/completions", json=STREAM)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["connection"] == "close"  # its next request would meet the end of the process
    assert httpx.get(f"{service.url}/livez").status_code == 200
    assert reader.is_alive(), "the stream was cut"
    service.release_engine()
    reader.join(60)
    assert reader.lines[-1] == "data: [DONE]"
    assert service.process.wait(30) == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_the_api_process_affair(service: Service, sig: signal.Signals) -> None:
    """systemd and `timeout` send it to every process; the engine must finish what is open."""
    engine = service.engine_process
    os.kill(engine, sig)
    answer = httpx.post(
        f"{service.url}/v1/chat/completions", json=STREAM | {"stream": False, "max_tokens": 3}, timeout=60
    )
    assert answer.status_code == 200 and service.engine_process == engine


def test_work_that_comes_before_balancers_look_away_is_served() -> None:
    with running_service(drain_delay_seconds="3") as service:
        service.begin_end()
        late = httpx.post(
            f"{service.url}/v1/chat/completions", json=STREAM | {"stream": False, "max_tokens": 3}, timeout=60
        )
        assert late.status_code == 200 and service.readiness() == 503
        assert late.headers.get_list("connection") == ["close"]  # its next request goes to another replica
        assert service.process.wait(30) == 0


def test_a_stream_that_outlasts_the_drain_ends_with_an_error_event() -> None:
    with running_service(drain_seconds="0.5") as service:
        reader = Reader(service)
        service.begin_end()
        assert service.process.wait(30) == 0
    reader.join(30)
    assert json.loads(reader.lines[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"


@pytest.mark.parametrize(
    ("second", "delay", "code"),
    [(signal.SIGTERM, "0", 143), (signal.SIGTERM, "60", 143), (signal.SIGINT, "0", 130)],
)
def test_the_second_signal_cuts_streams_off_with_one_log_line(
    tmp_path: Path, second: signal.Signals, delay: str, code: int
) -> None:
    with (
        (tmp_path / "log").open("wb") as log,
        running_service(stderr=log.fileno(), log_format="json", drain_delay_seconds=delay) as service,
    ):
        reader, engine = Reader(service), service.engine_process
        service.begin_end()
        service.process.send_signal(second)
        assert service.process.wait(20) == code
    reader.join(30)
    assert reader.cut
    assert not Path(f"/proc/{engine}").exists()  # though it was held
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    warnings = [line["message"] for line in lines if line["level"] in ("warning", "error")]
    assert len(warnings) == 1
    cut = warnings[0].removeprefix("a second signal; open requests that are cut off: ")
    assert cut in ("1", "2")  # the last probe of readiness may be one of them
    assert not any("Traceback" in line["message"] or "exception" in line for line in lines)


def test_a_log_that_nobody_reads_does_not_keep_the_process() -> None:
    unread, log = os.pipe()
    os.set_blocking(log, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(log, b"x" * 4096)
    os.set_blocking(log, True)
    try:
        with running_service(stderr=log, log_format="json") as service:
            assert httpx.post(f"{service.url}/v1/completions", json={}).status_code == 400
            service.process.terminate()
            assert service.process.wait(20) == 0
    finally:
        os.close(unread)
        os.close(log)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"REPARTEE_PROT": "1"}, "did you mean REPARTEE_PORT"),
        ({"REPARTEE_PORT": "many"}, "REPARTEE_PORT"),
        ({"REPARTEE_MODEL": "/nowhere/here"}, "/nowhere/here"),
        ({"REPARTEE_HOST": "0.0.0.0"}, "REPARTEE_API_KEYS_FILE"),
        ({"REPARTEE_API_KEYS_FILE": "/nowhere/keys.json"}, "REPARTEE_API_KEYS_FILE is /nowhere/keys.json: "),
        ({"REPARTEE_API_KEYS_FILE": __file__}, "REPARTEE_API_KEYS_FILE is"),
        ({"REPARTEE_MODEL": str(ROOT / "docs")}, "REPARTEE_MODEL names"),
        (
            {"REPARTEE_ANSWERS_FILE": "/nowhere/a.jsonl"},
            "REPARTEE_ANSWERS_FILE: cannot read /nowhere/a.jsonl: ",
        ),
        ({"REPARTEE_ANSWERS_FILE": str(ROOT / "docs")}, "REPARTEE_ANSWERS_FILE: cannot read"),
        ({"REPARTEE_ANSWERS_FILE": sys.executable}, "is not UTF-8"),
        ({"REPARTEE_TRACES_ENDPOINT": "collector:4318"}, "REPARTEE_TRACES_ENDPOINT: "),
        ({"REPARTEE_TRACES_SAMPLE_RATIO": "2"}, "REPARTEE_TRACES_SAMPLE_RATIO: "),
        (
            {"REPARTEE_TRACES_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"},
            "REPARTEE_TRACES_ENDPOINT is set, but traces cannot be made: ",
        ),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_line(settings: dict[str, str], words: str) -> None:
    assert words in _refusal(settings)


def test_ctrl_c_while_the_model_is_read_leaves_no_stack_trace(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models" / MODEL, tmp_path, dirs_exist_ok=True)
    pipe = tmp_path / "decisions.json"
    content = pipe.read_bytes()
    pipe.unlink()
    os.mkfifo(pipe)
    settings = {"REPARTEE_MODEL": str(tmp_path), "REPARTEE_PORT": "0"}
    command = [sys.executable, "-m", "app"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stderr=subprocess.PIPE) as process:
        with _when_read(pipe, process) as writer:
            process.send_signal(signal.SIGINT)
            writer.write(content)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 130


def _when_read(pipe: Path, process: subprocess.Popen[bytes]) -> BinaryIO:
    """The pipe for writing, as soon as the process reads it."""
    while True:
        assert process.poll() is None
        with contextlib.suppress(OSError):
            end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            os.set_blocking(end, True)
            return os.fdopen(end, "wb")
        time.sleep(0.01)


@pytest.mark.parametrize("content", ["{", "{}", "\x00"])
def test_a_broken_tokenizer_ends_the_start_with_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    assert f"The tokenizer in {tmp_path} cannot be used" in _refusal({"REPARTEE_MODEL": str(tmp_path)})


def test_a_port_in_use_ends_the_start_with_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        line = _refusal({"REPARTEE_PORT": port})
    assert "REPARTEE_PORT" in line and "REPARTEE_HOST" in line and port in line


def test_an_engine_that_cannot_start_says_why_once(tmp_path: Path) -> None:
    shutil.copy(ROOT / "models" / MODEL / "tokenizer.json", tmp_path)
    settings = {"REPARTEE_MODEL": str(tmp_path), "REPARTEE_PORT": "0", "REPARTEE_THREADS": "1"}
    run = _run(settings)
    assert run.returncode == 3
    assert run.stderr.count("engine: ") == 1
    (line,) = [line for line in run.stderr.splitlines() if "engine: " in line]
    reason = json.loads(line)["message"].removeprefix("engine: ")
    assert run.stderr.count(json.dumps(reason)[1:-1]) == 1


def test_where_logs_are_json_every_line_is_json_those_of_the_engine_too(tmp_path: Path) -> None:
    shutil.copy(ROOT / "models" / MODEL / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "num_attention_heads": 0}')
    run = _run({"REPARTEE_MODEL": str(tmp_path), "REPARTEE_PORT": "0", "REPARTEE_LOG_FORMAT": "json"})
    assert run.returncode == 3
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    (from_engine,) = [line for line in lines if line["logger"] == "app.engine"]
    assert from_engine["level"] == "error" and "Traceback" in from_engine["exception"]
    assert next(line["message"] for line in lines if line["logger"] == "app.banner") == "starting"


def _refusal(settings: dict[str, str]) -> str:
    """The one line of a start that ends for a wrong configuration."""
    run = _run(settings)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    return line


def _run(settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A service that ends by itself."""
    command = [sys.executable, "-m", "app"]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=60
    )
