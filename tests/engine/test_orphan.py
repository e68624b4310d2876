"""The engine process does not outlive an API process that was killed, and knows it from one that is process 1."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.engine.core.tiny_models import tiny_checkpoint

PARENT = """
import asyncio, sys
from app.engine.client import AsyncEngine
from app.engine.config import EngineConfig
from tests.engine.recording_observer import RecordingObserver

async def main():
    engine = AsyncEngine(EngineConfig(model=sys.argv[1], device="cpu", kv_cache_tokens=512), RecordingObserver())
    await engine.start()
    while engine.state != "ready":
        await asyncio.sleep(0.01)
    print(engine.process_id, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def alive(process_id: int) -> bool:
    try:
        with open(f"/proc/{process_id}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_killing_the_parent_ends_the_engine() -> None:
    command = [sys.executable, "-c", PARENT, str(tiny_checkpoint("llama"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        engine = int(parent.stdout.readline())
        assert alive(engine)
        os.kill(engine, signal.SIGSTOP)  # as deaf to its channel as within a long forward pass
        parent.send_signal(signal.SIGKILL)
    limit = time.monotonic() + 10
    while alive(engine) and time.monotonic() < limit:
        time.sleep(0.05)
    still_there = alive(engine)
    if still_there:
        os.kill(engine, signal.SIGKILL)
    assert not still_there


def test_a_parent_that_is_process_1_of_its_container_is_alive() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this system grants no namespace of processes")
    source = PARENT.replace("await asyncio.sleep(600)", "assert engine.process_id == 2; await engine.stop()")
    command = [*unshare, sys.executable, "-c", source, str(tiny_checkpoint("llama"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr
