"""The wall clock of a process jumps while it runs, and no other clock does."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtests.reliability.chaos.clock_jump import ClockJump

CHILD = """
import datetime, sys, time
for line in sys.stdin:
    print(time.time(), datetime.datetime.now().timestamp(), time.monotonic(), flush=True)
"""


def test_the_wall_clock_jumps_alone(tmp_path: Path) -> None:
    clock = ClockJump(tmp_path)
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(
        command, env=os.environ | clock.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout
        for seconds in (0, 3600, -7200, 0):
            clock.jump(seconds)
            child.stdin.write("\n")
            child.stdin.flush()
            wall, date, monotonic = map(float, child.stdout.readline().split())
            assert wall - time.time() == pytest.approx(seconds, abs=600)
            assert date - time.time() == pytest.approx(seconds, abs=600)
            assert abs(monotonic - time.monotonic()) < 600
        child.stdin.close()


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(FileNotFoundError):
        ClockJump(tmp_path)
