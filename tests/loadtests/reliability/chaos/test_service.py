"""The log's reading end: what it keeps, and that nobody can write to it while it is blocked or gone."""

import os
import time

import pytest

from loadtests.reliability.chaos.service import LogSink


def test_it_keeps_what_nobody_foresaw() -> None:
    sink = LogSink()
    os.write(
        sink.writing, b'{"message": "request"}\n{"message": "unhandled error"}\n{"exception": "Traceback ('
    )
    os.write(sink.writing, b'most recent call last)"}\n')
    os.close(sink.writing)
    limit = time.monotonic() + 20
    while len(sink.lines) < 2 and time.monotonic() < limit:
        time.sleep(0.01)
    assert [("unhandled error" in line, "Traceback" in line) for line in sink.lines] == [
        (True, False),
        (False, True),
    ]


def test_while_it_is_blocked_its_pipe_is_soon_full_and_one_that_is_gone_takes_nothing() -> None:
    sink = LogSink()
    sink.block()
    os.set_blocking(sink.writing, False)
    with pytest.raises(BlockingIOError):
        for _ in range(100):
            os.write(sink.writing, b"x" * 1024)
    sink.break_off()
    with pytest.raises(BrokenPipeError):
        os.write(sink.writing, b"x")
    os.close(sink.writing)
