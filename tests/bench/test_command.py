"""`app bench`: its figures are those of the server, its exit codes tell how it went, and nonsense is one line."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.bench import command
from app.bench.sample import read_samples
from tests.sse_server import DONE, Exchange, content, serving, usage

pytestmark = pytest.mark.anyio
FIRST, GAP, TEXTS = 0.1, 0.1, 4
SLACK = 0.15
"""By how much the middle of many waits may be longer on a busy machine; a client that waits for the end exceeds it."""
FAILED, REFUSED, VOID = 1, 2, 4
Answer = Callable[[Exchange], Awaitable[None]]


async def delayed(exchange: Exchange, *, counts: bool = True) -> None:
    """An answer of known delays."""
    await exchange.begin()
    for number in range(TEXTS):
        await asyncio.sleep(GAP if number else FIRST)
        await exchange.send(content("word "))
    await exchange.send((usage(5, 2 * TEXTS) if counts else b"") + DONE)
    await exchange.finish()


def with_models(answer: Answer, *models: str) -> Answer:
    """A server that names its models besides."""

    async def handle(exchange: Exchange) -> None:
        if exchange.path == "/v1/models":
            await exchange.begin(content_type="application/json")
            await exchange.send(json.dumps({"data": [{"id": model} for model in models]}).encode())
            await exchange.finish()
        else:
            await answer(exchange)

    return handle


async def bench(answer: Answer, *options: str, models: tuple[str, ...] = ("m",)) -> int:
    """The exit code of the command against a server that answers so; a busy machine voids nothing by itself."""
    async with serving(with_models(answer, *models)) as base, asyncio.timeout(60):
        return await asyncio.to_thread(command.run, ["--url", base, "--most-lag", "20", *options])


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that was printed, and nothing else."""
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not line.endswith(" ...")]
    assert printed.out == "" and len(lines) == 1 and lines[0].startswith("python -m app bench: ")
    return lines[0]


@pytest.mark.parametrize("load", [["--concurrency", "3"], ["--rate", "20", "--arrivals", "constant"]])
async def test_what_it_reports_is_what_the_server_does(
    load: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await bench(delayed, "--requests", "12", "--json", *load) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["model"], told["requests"], told["failed"], told["void"]) == ("m", 12, 0, None)
    assert FIRST <= told["time_to_first_token_seconds"]["p50"] <= FIRST + SLACK
    assert GAP / 2 <= told["inter_text_seconds"]["p50"] <= GAP + SLACK
    assert told["generated_answer_seconds"]["p50"] >= FIRST + (TEXTS - 1) * GAP
    # Usage counts two tokens a text, so three gaps lie between eight tokens.
    per_token = told["time_per_output_token_seconds"]["p50"]
    assert GAP / 2 * 3 / 7 <= per_token <= (GAP + SLACK) * 3 / 7
    assert (told["prompt_tokens"], told["generated_tokens"]) == (12 * 5, 12 * 8)


async def test_the_table_has_latencies_and_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    assert await bench(delayed, "--requests", "2") == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("first token", "p99", "good: met every objective", "| ttft of"))


async def test_goodput_is_by_the_objectives_that_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slos = tmp_path / "slos.toml"
    slos.write_text('[[slo]]\nname = "ttft"\ntasks = ["chat"]\nobjective = 0.9\nthreshold_seconds = 0.05\n')
    assert await bench(delayed, "--requests", "3", "--json", "--slos", str(slos)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["goodput_per_second"] == 0
    assert [(one["met"], one["requests"], one["attained"]) for one in told["objectives"]] == [(0, 3, False)]


async def test_a_server_without_usage_has_its_texts_counted(capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(exchange: Exchange) -> None:
        await delayed(exchange, counts=False)

    assert await bench(answer, "--requests", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["generated_tokens"] == 2 * TEXTS


@pytest.mark.parametrize("options", [[], ["--no-usage"]])
async def test_counts_are_asked_for_unless_told_otherwise(options: list[str]) -> None:
    bodies = []

    async def answer(exchange: Exchange) -> None:
        bodies.append(exchange.body)
        await delayed(exchange)

    await bench(answer, "--requests", "1", *options)
    assert ("stream_options" in bodies[0]) is not bool(options)


async def test_the_key_is_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    heard = []

    async def answer(exchange: Exchange) -> None:
        heard.append(exchange.headers.get("authorization"))
        await delayed(exchange)

    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    assert await bench(answer, "--requests", "1") == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    assert await bench(answer, "--requests", "1") == 0
    assert heard == ["Bearer secret-key", None]


@pytest.mark.parametrize("key", ["two words", "line\r\nX-Other: header", "clé"])
async def test_what_can_be_no_key_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    async def answer(exchange: Exchange) -> None:
        raise AssertionError("it was asked")

    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert await bench(answer, "--model", "m") == REFUSED
    line = refused(capsys)
    assert "OPENAI_API_KEY" in line and key not in line


@pytest.mark.parametrize("load", [["--rate", "100"], ["--concurrency", "2"]])
async def test_a_late_client_voids_the_run(
    load: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def slow_question(_: object) -> str:
        time.sleep(0.06)  # a client that has not the processor for its own rate
        return "?"

    monkeypatch.setattr(command, "question", slow_question)
    options = (*load, "--requests", "8", "--json")
    assert await bench(delayed, *options, "--most-lag", "0.025", "--plot", str(tmp_path)) == VOID
    printed = capsys.readouterr()
    assert "void: the client itself was late" in printed.err
    assert json.loads(printed.out)["void"].startswith("void: ")
    assert "void: the client itself was late" in (tmp_path / "bench.html").read_text()
    assert await bench(delayed, *options) == 0
    capsys.readouterr()
    assert await bench(delayed, *load, "--requests", "8", "--most-lag", "0.025") == VOID
    assert "Not to be trusted, void: " in capsys.readouterr().out.partition("TTFT")[0]


async def test_a_failing_server_is_counted_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin("503 Service Unavailable", "application/json")
        await exchange.send(b'{"error": {"message": "too busy"}}')
        await exchange.finish()

    assert await bench(answer, "--requests", "3") == FAILED
    printed = capsys.readouterr().out
    assert "- 3 x Status 503: " in printed and "too busy" in printed


async def test_a_server_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(delayed) as base:
        pass
    assert await asyncio.to_thread(command.run, ["--url", base]) == REFUSED
    assert "does not answer" in refused(capsys)


async def test_of_several_models_one_must_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert await bench(delayed, models=("a", "b")) == REFUSED
    assert "2 models" in refused(capsys)
    assert await bench(delayed, "--requests", "1", "--model", "b", models=("a", "b")) == 0


async def test_a_run_without_a_request_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert await bench(delayed, "--rate", "0.001", "--seconds", "0.01", "--seed", "1") == REFUSED
    assert "no request was due" in refused(capsys)


async def test_prompts_of_a_file_are_sent_in_turn(tmp_path: Path) -> None:
    asked = []

    async def answer(exchange: Exchange) -> None:
        asked.append((exchange.path, exchange.body["prompt"], exchange.body["max_tokens"]))
        await exchange.begin()
        await exchange.send(b'data: {"choices": [{"text": "a"}]}\n\n' + usage(1, 1) + DONE)
        await exchange.finish()

    (tmp_path / "prompts").write_text("first\n\nsecond\n")
    options = ("--requests", "3", "--concurrency", "1", "--api", "completions", "--max-tokens", "7")
    assert await bench(answer, *options, "--prompts", str(tmp_path / "prompts")) == 0
    assert asked == [("/v1/completions", prompt, 7) for prompt in ("first", "second", "first")]


async def test_samples_and_plots_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, plots = tmp_path / "samples.jsonl", tmp_path / "plots"
    assert await bench(delayed, "--requests", "4", "--samples", str(samples), "--plot", str(plots)) == 0
    assert [sample.tokens for sample in read_samples(samples)] == [2 * TEXTS] * 4
    assert (plots / "bench-latency.png").read_bytes().startswith(b"\x89PNG")
    page = (plots / "bench.html").read_text()
    assert "<svg" in page and "Time to first token" in page and "first token" in page
    assert "<script" not in page and 'src="' not in page


def test_without_matplotlib_a_plot_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert command.run(["--plot", str(tmp_path / "plots")]) == REFUSED
    assert "matplotlib" in refused(capsys)
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--rate", "inf"],
        ["--rate", "fast"],
        ["--rate", "1", "--concurrency", "1"],
        ["--concurrency", "0"],
        ["--concurrency", "99999"],
        ["--requests", "1.5"],
        ["--requests", "-1"],
        ["--seconds", "0"],
        ["--timeout", "-1"],
        ["--max-tokens", "0"],
        ["--arrivals", "bursty"],
        ["--api", "responses"],
        ["--seed", "x"],
        ["--key", "secret"],
        ["--re", "3"],
        ["stray"],
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.run(options)
    assert left.value.code == REFUSED
    refused(capsys)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://127.0.0.1",
        "127.0.0.1:8000",
        "http://",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://user:password@127.0.0.1",
        "http://127.0.0.1/v1?key=1",
        "http://a..b",
        "http://" + "a" * 64,
    ],
)
def test_a_wrong_address_is_one_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["--url", url]) == REFUSED
    assert "password@" not in refused(capsys)


@pytest.mark.parametrize("option", ["--prompts", "--slos", "--samples", "--plot"])
def test_a_file_that_cannot_be_used_is_one_line(
    option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert command.run([option, str(tmp_path / "file" / "below")]) == REFUSED
    assert "file/below" in refused(capsys)


@pytest.mark.parametrize(("written", "said"), [(b"\n \n", "no prompt"), (b"\xff\xfe", "UTF-8")])
def test_prompts_must_be_text(
    written: bytes, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "prompts").write_bytes(written)
    assert command.run(["--prompts", str(tmp_path / "prompts")]) == REFUSED
    assert said in refused(capsys)


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.run(["--help"])
    assert left.value.code == 0
    assert "exit codes: 0" in capsys.readouterr().out
