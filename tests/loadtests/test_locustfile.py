"""The locust scenarios see a server of known delays as it is; a client known to be wrong does not."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from app.bench.figures import percentile
from app.bench.sample import Sample, read_samples
from tests.sse_server import DONE, Exchange, content, serving, usage

ROOT = Path(__file__).parents[2]
FIRST, GAP, TEXTS, SLACK = 0.2, 0.1, 3, 0.15
STALL = 1.0
WRONG = """
import json, os, time
from locust import FastHttpUser, task

class Wrong(FastHttpUser):
    @task
    def ask(self):
        sent = time.perf_counter()
        with self.client.post("/v1/chat/completions", json={}, stream=True, catch_response=True) as response:
            response.stream.read(4096)
            first = time.perf_counter() - sent
            response.success()
        with open(os.environ["FIRSTS"], "a") as file:
            print(first, file=file)
"""


STOPPED = """
from types import SimpleNamespace
import gevent
from gevent.event import Event
from loadtests.locustfile import Customers

class User(Customers):
    environment = SimpleNamespace(runner=SimpleNamespace(target_user_count=1))
    def __init__(self): pass
    def send(self, stage): print("sent")

woken = Event()
user = gevent.spawn(lambda: woken.wait() and User().ask())
gevent.sleep(0)
woken.set()
if KILL:
    user.kill(block=False)
user.join()
"""


async def answer(exchange: Exchange) -> None:
    """A model list, or a chat of known delays."""
    if exchange.path == "/v1/models":
        return await _models(exchange)
    await exchange.begin()
    for number in range(TEXTS):
        await asyncio.sleep(GAP if number else FIRST)
        await exchange.send(content("word "))
    await exchange.send(usage(3, TEXTS) + DONE)
    await exchange.finish()


async def _models(exchange: Exchange) -> None:
    await exchange.begin(content_type="application/json")
    await exchange.send(b'{"data": [{"id": "m"}]}')
    await exchange.finish()


async def locust(base: str, file: Path, *options: str, code: int = 0, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", str(file), "--headless", "--only-summary", "--host", base),
        *options,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == code, output.decode()
    return output.decode()


async def scenario(base: str, path: Path, *options: str) -> list[Sample]:
    file = ROOT / "loadtests" / "locustfile.py"
    # A busy machine voids nothing by itself, and failed requests are for the test to judge.
    never = ("--most-lag", "60", "--exit-code-on-error", "0")
    await locust(base, file, *never, *options, "--kinds", "short chat", "--samples", str(path))
    return read_samples(path)


@pytest.mark.anyio
@pytest.mark.parametrize("load", [("Customers", "--steps", "2,3"), ("Arrivals", "--steps", "4,8")])
async def test_delays_are_the_servers_own(tmp_path: Path, load: tuple[str, ...]) -> None:
    async with serving(answer) as base, asyncio.timeout(100):
        samples = await scenario(base, tmp_path / "samples", *load, "--step-seconds", "2")
    whole = [sample for sample in samples if sample.outcome == "ok"]
    assert len(whole) >= 4 and {sample.tokens for sample in whole} == {TEXTS}
    assert FIRST <= percentile([sample.first or 0 for sample in whole], 0.5) <= FIRST + SLACK
    assert GAP / 2 <= percentile([gap for sample in whole for gap in sample.gaps], 0.5) <= GAP + SLACK
    assert len({sample.stage for sample in samples}) == 2


@pytest.mark.anyio
async def test_an_open_loop_shows_a_stall_and_a_closed_one_does_not(tmp_path: Path) -> None:
    began = 0.0

    async def stalling(exchange: Exchange) -> None:
        nonlocal began
        if exchange.path == "/v1/models":
            began = 0.0
            return await _models(exchange)
        began = began or time.perf_counter()
        into = time.perf_counter() - began - 0.5
        if 0 <= into < STALL:
            await asyncio.sleep(STALL - into)
        await exchange.begin()
        await exchange.send(content("word ") + usage(1, 1) + DONE)
        await exchange.finish()

    async with serving(stalling) as base, asyncio.timeout(100):
        opened = await scenario(base, tmp_path / "open", "Arrivals", "--steps", "30", "--step-seconds", "3")
        closed = await scenario(base, tmp_path / "closed", "Customers", "--steps", "1", "--step-seconds", "4")
    assert sum((sample.first or 0) > STALL / 2 for sample in opened) >= 5
    assert (
        sum((sample.first or 0) > STALL / 2 for sample in closed) <= 2
    )  # one, and another on a busy machine


@pytest.mark.anyio
async def test_fast_http_user_would_report_the_end_as_the_first_token(tmp_path: Path) -> None:
    """Why the scenarios do not use it: what the test above checks is false for it."""
    file, firsts = tmp_path / "wrong.py", tmp_path / "firsts"
    file.write_text(WRONG)
    async with serving(answer) as base, asyncio.timeout(100):
        await locust(base, file, "-u", "1", "-t", "3s", FIRSTS=str(firsts))
    found = [float(line) for line in firsts.read_text().split()]
    assert percentile(found, 0.5) >= FIRST + (TEXTS - 1) * GAP


@pytest.mark.anyio
@pytest.mark.parametrize("users", ["Arrivals", "Customers"])
async def test_a_late_client_voids_the_run(users: str) -> None:
    file = ROOT / "loadtests" / "locustfile.py"
    options = ("--kinds", "short chat", "--step-seconds", "1", "--steps", "20", "--most-lag", "1e-9")
    async with serving(answer) as base, asyncio.timeout(100):
        assert "void" in await locust(base, file, users, *options, code=4)


@pytest.mark.anyio
@pytest.mark.parametrize("load", [("Customers", "--steps", "3"), ("Arrivals", "--steps", "8")])
@pytest.mark.parametrize("begins", [True, False])
async def test_what_hangs_when_the_run_ends_has_failed(
    tmp_path: Path, load: tuple[str, ...], begins: bool
) -> None:
    """A server that stops answering in mid-run, before its head or after a text, and keeps its connections alive."""
    asked = 0

    async def hanging(exchange: Exchange) -> None:
        nonlocal asked
        if exchange.path == "/v1/models":
            return await _models(exchange)
        asked += 1
        if asked <= 3:
            return await answer(exchange)
        if not begins:
            return await exchange.left()
        await exchange.begin()
        await exchange.send(content("word "))
        while True:
            await exchange.send(b": keep-alive\n\n")
            await asyncio.sleep(0.1)

    options = ("--step-seconds", "2", "--timeout", "4")
    async with serving(hanging) as base, asyncio.timeout(100):
        samples = await scenario(base, tmp_path / "samples", *load, *options)
    failed = [sample for sample in samples if sample.outcome == "error"]
    assert len(samples) == asked and len(failed) == asked - 3 > 0
    assert {sample.error for sample in failed} == {"No whole answer within 4 s."}
    assert all((sample.first is not None) is begins for sample in failed)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "options",
    [
        ("--steps", "many"),
        ("--steps", "2", "--sweep", "1:2:3"),
        ("--steps", "2", "--kinds", "nonsense"),
        ("--steps", "2", "--samples", "/nowhere/samples"),
        ("--steps", "2"),
    ],
)
async def test_what_cannot_be_run_is_told_in_one_line(options: tuple[str, ...]) -> None:
    """The last of them finds nobody at its address."""
    file = ROOT / "loadtests" / "locustfile.py"
    async with asyncio.timeout(100):
        output = await locust("http://127.0.0.1:9", file, "Arrivals", "--step-seconds", "1", *options, code=2)
    assert output.count("loadtests/locustfile.py: ") == 1 and "Traceback" not in output


@pytest.mark.anyio
@pytest.mark.parametrize(("kill", "said"), [(False, b"sent\n"), (True, b"")])
async def test_a_user_who_is_stopped_while_it_thinks_begins_no_request(kill: bool, said: bytes) -> None:
    script = STOPPED.replace("KILL", str(kill))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0] == said
