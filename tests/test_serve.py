"""`python -m app serve` before it serves: wrong settings and unsafe ones end with code 2 and a sentence; the banner."""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from app import serve as entry
from app.banner import StartReport, show_banner, show_progress
from app.engine.client import AsyncEngine
from app.engine.messages import Progress
from app.metrics import Metrics
from app.server import Server, uvicorn_config
from app.settings import PREFIX, Settings
from tests.engine.recording_observer import RecordingObserver
from tests.engine.test_supervision import READY
from tests.test_model_source import make_model

WRONG = 2


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """A clean environment with a model directory; what would be served is kept, and nothing is."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)
    make_model(tmp_path / "small")
    monkeypatch.setenv("REPARTEE_MODEL", str(tmp_path / "small"))
    served: list[Settings] = []

    async def serve(settings: Settings) -> int:
        served.append(settings)
        return 0

    class Writer:
        stuck = False

        def stop(self) -> None: ...

    monkeypatch.setattr(entry, "serve", serve)
    monkeypatch.setattr(entry, "configure_logging", lambda *_: Writer())
    return served


@pytest.fixture
def collector() -> Iterator[list[int]]:
    """The generations that were collected; the collector is left as it was."""
    before, collected = gc.get_threshold(), list[int]()

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            collected.append(info["generation"])

    gc.callbacks.append(note)
    yield collected
    gc.callbacks.remove(note)
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_large_requests_hold_is_not_gone_through_again_and_again(collector: list[int]) -> None:
    entry.settle_collector()
    collector.clear()
    requests = [[{"value": [index]} for index in range(16_000)] for _ in range(4)]
    assert 0 in collector and 2 not in collector
    assert len(requests) == 4


def test_it_serves_on_the_fast_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[str] = []

    async def serve(settings: Settings) -> int:
        loops.append(type(asyncio.get_running_loop()).__module__)
        return 0

    monkeypatch.setattr(entry, "serve", serve)
    assert entry.main() == 0
    assert loops == ["uvloop"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("REPARTEE_PROT", "1", "REPARTEE_PORT"),
        ("REPARTEE_PORT", "many", "REPARTEE_PORT: "),
        ("REPARTEE_MODEL", "/nowhere/at/all", "REPARTEE_MODEL"),
        ("REPARTEE_HOST", "0.0.0.0", "REPARTEE_API_KEYS_FILE"),
    ],
)
def test_wrong_settings_end_it_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_service: list[Settings],
    name: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert entry.main() == WRONG
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message
    assert no_service == []


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.1.2.3", "8.8.8.8", "example.com", "localhost.example.com"]
)
def test_strangers_are_not_served_without_keys(
    monkeypatch: pytest.MonkeyPatch, no_service: list[Settings], host: str
) -> None:
    monkeypatch.setenv("REPARTEE_HOST", host)
    assert entry.main() == WRONG
    monkeypatch.setenv("REPARTEE_ALLOW_OPEN", "true")
    assert entry.main() == 0
    monkeypatch.delenv("REPARTEE_ALLOW_OPEN")
    monkeypatch.setenv("REPARTEE_API_KEYS_FILE", "keys.json")
    assert entry.main() == 0
    assert len(no_service) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_keys(
    monkeypatch: pytest.MonkeyPatch, no_service: list[Settings], host: str
) -> None:
    monkeypatch.setenv("REPARTEE_HOST", host)
    assert entry.main() == 0
    assert len(no_service) == 1


def test_the_model_is_found_and_keeps_the_name_it_was_asked_for_by(
    monkeypatch: pytest.MonkeyPatch, no_service: list[Settings], tmp_path: Path
) -> None:
    make_model(tmp_path / "3f2a")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path / "3f2a"))
    monkeypatch.setenv("REPARTEE_MODEL", "maker/small-1b")
    assert entry.main() == 0
    (settings,) = no_service
    assert (settings.model, settings.served_name) == (str(tmp_path / "3f2a"), "small-1b")


@pytest.mark.parametrize(
    ("host", "keys", "words"),
    [
        ("127.0.0.1", None, ["http://127.0.0.1:8123/docs", "small", "none: anyone", "128 tokens"]),
        ("::1", Path("keys.json"), ["http://[::1]:8123/metrics", "required"]),
    ],
)
def test_the_banner_says_what_is_served_and_where(
    capsys: pytest.CaptureFixture[str], host: str, keys: Path | None, words: list[str]
) -> None:
    show_banner(Settings(model="/models/small", host=host, api_keys_file=keys), READY, 8123)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert all(word in printed.err for word in words)


def test_the_banner_says_why_it_runs_like_this(capsys: pytest.CaptureFixture[str]) -> None:
    ready = msgspec.structs.replace(READY, reasons=["none weights: small", "torch kernels: another family"])
    show_banner(Settings(model="m"), ready, 8123)
    assert "why       none weights: small; torch kernels: another family" in capsys.readouterr().err


def test_the_banner_names_no_page_that_a_browser_may_not_open(capsys: pytest.CaptureFixture[str]) -> None:
    show_banner(Settings(model="m", api_keys_file=Path("keys.json")), READY, 8123)
    assert "/docs" not in capsys.readouterr().err


def test_the_banner_names_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    show_banner(Settings(model="m", policy_file=Path("policy.toml")), READY, 8123)
    assert "policy    policy.toml" in capsys.readouterr().err


def test_an_engine_that_is_back_brings_one_log_line_and_no_second_banner(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    report = StartReport(Settings(model="m"), 8123, text=True)
    for _ in range(2):
        report.progress(Progress("load", 1.0))
        report.ready(READY)
    printed = capsys.readouterr().err
    assert printed.count("loaded the model") == printed.count("Repartee is ready") == 1
    assert caplog.messages == ["engine ready again"]


def test_where_logs_are_json_the_start_is_log_lines_too(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    report = StartReport(Settings(model="/models/small"), 8123, text=False)
    report.starts()
    report.progress(Progress("load", 1.25))
    report.ready(READY)
    report.progress(Progress("load", 1.25))
    report.ready(READY)
    assert capsys.readouterr() == ("", "")
    assert caplog.messages == ["starting", "phase of the start ended", "ready", "engine ready again"]
    starting, phase, ready, _ = (vars(record).get("fields", {}) for record in caplog.records)
    assert starting == {"model": "/models/small"}
    assert phase == {"phase": "load", "seconds": 1.25}
    assert (ready["url"], ready["kv_cache_tokens"]) == ("http://127.0.0.1:8123", 128)


def test_progress_names_the_phase_and_its_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    show_progress(Progress("load", 1.234))
    show_progress(Progress("something new", 0.5))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[-2:] for line in lines] == [["1.23", "s"], ["0.50", "s"]]
    assert "something new" in lines[1]


@pytest.mark.anyio
@pytest.mark.parametrize(("sig", "delay"), [(signal.SIGTERM, 0.3), (signal.SIGINT, 0.0)])
async def test_new_work_is_taken_during_the_delay_of_a_drain(
    sig: int, delay: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = Settings(model="m", drain_delay_seconds=0.3, drain_seconds=7)
    engine = AsyncEngine(settings.engine_config(), RecordingObserver())
    server = Server(uvicorn_config(object(), settings, Metrics("toy")), engine, settings)
    server.handle_exit(sig, None)
    started = time.monotonic()
    while not await server.on_tick(1):
        await asyncio.sleep(0.01)
    assert time.monotonic() - started >= delay
    assert engine.state == "draining"
    assert f"new work is taken for {delay:g} s more, and open requests have 7 s after that" in caplog.text
    assert 6.5 < server.config.timeout_graceful_shutdown <= 7  # type: ignore[operator]  # what the drain left


@pytest.mark.anyio
async def test_the_second_signal_ends_at_once(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(model="m")
    engine = AsyncEngine(settings.engine_config(), RecordingObserver())
    server = Server(uvicorn_config(object(), settings, Metrics("toy")), engine, settings)
    server.handle_exit(signal.SIGTERM, None)
    await asyncio.sleep(0)
    assert (server.should_exit, server.cut_by) == (False, None)
    for _ in range(2):
        server.handle_exit(signal.SIGINT, None)
        await asyncio.sleep(0)
    assert (server.should_exit, server.cut_by) == (True, signal.SIGINT)
    assert engine.state == "draining"
    assert caplog.messages == ["a second signal; open requests that are cut off: 0"]
