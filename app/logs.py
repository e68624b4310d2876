"""Log lines (JSON or text) with the request id in context, written by a thread of their own."""

import copy
import json
import logging
import re
import sys
import threading
import time
import traceback
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler
from queue import Empty, SimpleQueue
from typing import Any, Literal, TextIO

from app.masking.mask import mask

request_id: ContextVar[str] = ContextVar("request_id", default="")

Form = Literal["auto", "text", "json"]

QUEUE_RECORDS = 10_000
BATCH_LINES = 256
GATHER_SECONDS = 0.005
STOP_SECONDS = 1.0
"""How long the end of the process waits for a sink that takes no line."""
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def escape(text: str) -> str:
    """Text with its control characters written as escapes, so that it cannot begin a line of its own."""
    return CONTROL_CHARACTERS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What one line says, in order; `extra={"fields": {...}}` adds fields, `exc_info` adds `exception`.

    Masked where it may hold what a client wrote: a library's message or exception may quote its input.
    """
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": mask(record.getMessage()),
    }
    if identifier := getattr(record, "request_id", ""):
        fields["request_id"] = identifier
    fields |= getattr(record, "fields", {})
    if identifier := fields.get("client_request_id"):
        fields["client_request_id"] = mask(identifier)
    if record.exc_text:
        fields["exception"] = mask(record.exc_text)
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return json.dumps(record_fields(record), default=str)


class TextFormatter(logging.Formatter):
    """One line for people: time, level, message, then the fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        fields = record_fields(record)
        head = f"{fields.pop('time')} {fields.pop('level'):7} {fields.pop('logger')}: {fields.pop('message')}"
        tail = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        return escape(f"{head} {tail}".rstrip())


class ContextQueueHandler(QueueHandler):
    """Hands records to the writing thread; drops them, counted in `dropped`, while the sink is too slow."""

    queue: "SimpleQueue[logging.LogRecord | None]"

    def __init__(self, records: "SimpleQueue[logging.LogRecord | None]") -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """A copy that holds only text: arguments and exceptions may change or hold frames alive."""
        ready = copy.copy(record)
        ready.msg, ready.args = record.getMessage(), None
        ready.request_id = request_id.get()
        if record.exc_info:
            ready.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        ready.exc_info = ready.stack_info = None
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record without ever waiting."""
        if self.queue.qsize() < QUEUE_RECORDS:
            self.queue.put(record)
        else:
            self.dropped += 1


class LogWriter:
    """The thread that writes; its end waits for a sink that nobody reads only so long.

    It lets a few lines gather and writes them at once. Woken for each, it would take the interpreter from the event
    loop in the midst of every request, which then took a third longer (docs/log.md).

    Attributes:
        stuck: `stop` did not wait any longer: the thread still holds the sink, and locks that the interpreter's own
            end would wait for.
    """

    def __init__(
        self,
        records: "SimpleQueue[logging.LogRecord | None]",
        formatter: logging.Formatter,
        sink: TextIO,
    ) -> None:
        self._records = records
        self._formatter = formatter
        self._sink = sink
        self._thread = threading.Thread(target=self._write, name="log writer", daemon=True)
        self.stuck = False

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is queued, and end the thread."""
        self._records.put(None)
        left = -1
        while self._thread.is_alive() and left != self._records.qsize():
            left = self._records.qsize()
            self._thread.join(STOP_SECONDS)
        self.stuck = self._thread.is_alive()

    def _write(self) -> None:
        ended = False
        while not ended:
            batch = [self._records.get()]
            if self._records.qsize() < BATCH_LINES:
                time.sleep(GATHER_SECONDS)
            with suppress(Empty):
                while len(batch) < BATCH_LINES:
                    batch.append(self._records.get_nowait())
            ended = None in batch
            lines = "".join(self._line(record) for record in batch if record is not None)
            with suppress(OSError, ValueError):  # a full disk or a closed pipe loses lines and nothing else
                self._sink.write(lines)
                self._sink.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self._formatter.format(record) + "\n"
        except Exception:  # a field that no format takes is our fault, and must not end the log
            logging.getLogger(__name__).error("a line of %s could not be written", record.name)
            return ""


def dropped_lines() -> int:
    """Log lines that were dropped since logging was configured."""
    handlers = logging.getLogger().handlers
    return sum(handler.dropped for handler in handlers if isinstance(handler, ContextQueueHandler))


def is_text(form: Form, sink: TextIO | None = None) -> bool:
    """Whether lines to a stream (standard error by default) are text for people, and not JSON."""
    return form == "text" or (form == "auto" and (sink or sys.stderr).isatty())


def configure_logging(level: str, form: Form = "auto", stream: TextIO | None = None) -> LogWriter:
    """Send all logging through one thread to a stream (standard error by default).

    Returns:
        The running thread; its `stop()` writes what is queued and ends it.
    """
    sink = stream or sys.stderr
    logging.logProcesses = logging.logThreads = logging.logMultiprocessing = False  # no line has them
    records: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
    logging.basicConfig(level=level.upper(), handlers=[ContextQueueHandler(records)], force=True)
    access = logging.getLogger("uvicorn.access")
    access.disabled = True
    writer = LogWriter(records, TextFormatter() if is_text(form, sink) else JsonFormatter(), sink)
    writer.start()
    return writer
