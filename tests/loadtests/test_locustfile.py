"""The locust scenario sees the first token when it comes, not when the answer ends."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.sse_server import DONE, Exchange, content, serving, usage

ROOT = Path(__file__).parents[2]
PAUSE = 1.0


async def answer(exchange: Exchange) -> None:
    """A model list, or a chat with a long pause after its first token."""
    if exchange.path == "/v1/models":
        await exchange.begin(content_type="application/json")
        await exchange.send(b'{"data": [{"id": "m"}]}')
    else:
        await exchange.begin()
        await exchange.send(content("first"))
        await asyncio.sleep(PAUSE)
        await exchange.send(content("second") + usage(3, 2) + DONE)
    await exchange.finish()


@pytest.mark.anyio
async def test_the_pause_after_the_first_token_is_a_gap(tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    scenario = ["-f", str(ROOT / "loadtests" / "locustfile.py"), "--tags", "chat"]
    users = ["--headless", "--users", "1", "--spawn-rate", "1", "--run-time", "5s"]
    async with serving(answer) as base, asyncio.timeout(100):
        locust = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "locust", *scenario, *users, "--host", base, "--only-summary",
            cwd=ROOT, env=os.environ | {"SAMPLES": str(samples), "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await locust.communicate()
    assert locust.returncode == 0, output.decode()
    found = [json.loads(line) for line in samples.read_text().splitlines()]
    assert found and all(sample["done"] and sample["tokens"] == 2 for sample in found)
    assert all(len(sample["gaps"]) == 1 for sample in found)
    # A scenario that reads the whole answer at once sees a gap of nearly nothing.
    assert max(sample["gaps"][0] for sample in found) > PAUSE / 4
    medians = {
        line.split()[0]: int(line.split()[8]) for line in output.decode().splitlines() if _is_row(line)
    }
    assert medians["TTFT"] < medians["POST"] >= PAUSE * 1e3 * 0.9  # locust rounds to two digits


def _is_row(line: str) -> bool:
    """Whether this is a row of locust's first table: times in milliseconds, not percentiles."""
    return " chat " in line and "|" in line and "(0.00%)" in line
