"""What an engine process writes to standard error becomes log lines of the API process."""

import asyncio
import logging
import subprocess
import sys

import pytest

from app.engine.log_lines import LINE_BYTES, relay

pytestmark = pytest.mark.anyio


async def relayed(written: bytes) -> None:
    lines = asyncio.StreamReader(LINE_BYTES)
    lines.feed_data(written)
    lines.feed_eof()
    await relay(lines)


def written_by(script: str) -> bytes:
    """Standard error of a process that writes its records like the engine's."""
    script = (
        f"from app.engine.log_lines import write_records; write_records(); import logging, warnings; {script}"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stderr


async def test_a_record_keeps_level_logger_and_message(caplog: pytest.LogCaptureFixture) -> None:
    await relayed(written_by("logging.getLogger('app.engine.x').error('no %s', 'memory\\nat all')"))
    assert caplog.record_tuples == [("app.engine.x", logging.ERROR, "no memory\nat all")]


async def test_an_exception_is_a_field_of_its_record(caplog: pytest.LogCaptureFixture) -> None:
    script = "\ntry:\n 1 / 0\nexcept ZeroDivisionError:\n logging.exception('it failed')"
    await relayed(written_by(script))
    (record,) = caplog.records
    assert record.getMessage() == "it failed"
    assert vars(record)["fields"]["exception"].endswith("ZeroDivisionError: division by zero")


async def test_a_warning_of_python_is_one_record(caplog: pytest.LogCaptureFixture) -> None:
    await relayed(written_by("warnings.warn('old')"))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("py.warnings", logging.WARNING) and "old" in record.getMessage()


@pytest.mark.parametrize(
    "line", ["terminate called", "[1, 2]", "7", '["a", "b", "c", "d"]', "{}", "caf\u00e9 %s"]
)
async def test_what_is_no_record_is_taken_as_it_is(caplog: pytest.LogCaptureFixture, line: str) -> None:
    await relayed(f"\n{line}\n\n".encode())
    assert caplog.record_tuples == [("app.engine.stderr", logging.WARNING, line)]


async def test_bytes_that_are_no_text_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    await relayed(b"\xff\xfe broken\nnext")
    assert [message.split()[-1] for message in caplog.messages] == ["broken", "next"]


async def test_a_line_without_an_end_does_not_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    await relayed(b"x" * (LINE_BYTES + 1) + b"\nafter\n")
    assert "is not shown" in caplog.messages[0] and caplog.messages[-1] == "after"
