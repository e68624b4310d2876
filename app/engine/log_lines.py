"""The engine's standard error, line by line into the API process's log: there all lines have one form and one sink.

The engine process writes each log record as one JSON line. What else ends there (a compiler's complaint, a native
library's last words) is taken as it is.
"""

import asyncio
import json
import logging
import sys
import traceback

logger = logging.getLogger("app.engine.stderr")

LINE_BYTES = 1 << 16
"""Longest line that is shown; the limit of the reader that `relay` gets."""


class RecordLine(logging.Formatter):
    """One record as `relay` reads it again."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip() if record.exc_info else None
        return json.dumps([record.levelno, record.name, record.getMessage(), text])


def write_records() -> None:
    """Let this process's log records, and Python's warnings, go to standard error as `relay` reads them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RecordLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)


async def relay(lines: asyncio.StreamReader) -> None:
    """Log what an engine process writes, until it ends. It must be read for as long as the process lives.

    A process whose reader is slow waits once the system's buffer of 64 KiB is full.
    """
    while True:
        try:
            line = await lines.readline()
        except ValueError:  # longer than the reader's limit; what was read of it is gone
            logger.warning("a line of more than %d bytes is not shown", LINE_BYTES)
            continue
        if not line:
            return
        if text := line.decode("utf-8", "replace").strip():
            _log(text)


def _log(text: str) -> None:
    try:
        level, name, message, exception = json.loads(text)
        if not (isinstance(level, int) and isinstance(name, str) and isinstance(message, str)):
            raise ValueError
    except (ValueError, TypeError):
        logger.warning("%s", text)
        return
    fields = {"exception": exception} if exception else {}
    logging.getLogger(name).log(level, "%s", message, extra={"fields": fields})
