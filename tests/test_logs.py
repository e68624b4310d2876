import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from app import logs
from app.logs import ContextQueueHandler, LogWriter, configure_logging, request_id


@pytest.fixture(autouse=True)
def root_handlers() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def written(listener: LogWriter, stream: io.StringIO) -> list[str]:
    listener.stop()
    return stream.getvalue().splitlines()


def test_json_lines_hold_context_and_fields() -> None:
    stream = io.StringIO()
    listener = configure_logging("info", "json", stream)
    token = request_id.set("req_1")
    logging.getLogger("app.x").info("hello %d", 7, extra={"fields": {"tokens": 3}})
    request_id.reset(token)
    logging.getLogger("app.x").debug("too quiet")
    logging.getLogger("app.x").warning("outside")
    first, second = map(json.loads, written(listener, stream))
    assert (first["level"], first["logger"], first["message"]) == ("info", "app.x", "hello 7")
    assert (first["request_id"], first["tokens"]) == ("req_1", 3)
    assert "request_id" not in second


@pytest.mark.parametrize("form", ["json", "text"])
def test_control_characters_cannot_forge_a_line(form: str) -> None:
    stream = io.StringIO()
    listener = configure_logging("info", form, stream)  # type: ignore[arg-type]
    evil = "a\nb\rc\x1b[31m\u2028\u0085\ud800"
    logging.getLogger("x").info("%s", evil, extra={"fields": {"field": evil}})
    (line,) = written(listener, stream)
    assert line.isprintable()


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_is_one_field_of_one_line(form: str) -> None:
    stream = io.StringIO()
    listener = configure_logging("info", form, stream)  # type: ignore[arg-type]
    try:
        raise ValueError("broken\npipe")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = written(listener, stream)
    assert "Traceback" in line
    if form == "json":
        assert json.loads(line)["exception"].endswith("ValueError: broken\npipe")


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_identifies_a_person_is_masked_wherever_a_client_may_have_written_it(form: str) -> None:
    stream = io.StringIO()
    listener = configure_logging("info", form, stream)  # type: ignore[arg-type]
    fields = {"client_request_id": "of-138-1234-5678", "key_id": "front-end"}
    try:
        raise ValueError("cannot read a@example.com")
    except ValueError:
        logging.getLogger("x").exception("call %s", "+44 20 7946 0958", extra={"fields": fields})
    (line,) = written(listener, stream)
    assert "7946" not in line and "example.com" not in line and "5678" not in line
    assert "call [phone]" in line and "cannot read [email]" in line and "of-[phone]" in line
    assert "front-end" in line


def test_auto_is_json_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    listener = configure_logging("info", "auto", stream)
    logging.getLogger("x").info("hello")
    assert json.loads(written(listener, stream)[0])["message"] == "hello"


def test_a_full_queue_drops_and_counts_instead_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUE_RECORDS", 1)
    handler = ContextQueueHandler(SimpleQueue())
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "hello", None, None)
    for _ in range(3):
        handler.emit(record)
    assert handler.dropped == 2


def test_a_broken_sink_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    listener = configure_logging("info", "json", stream)
    stream.close()
    logging.getLogger("x").info("lost")
    listener.stop()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("records", [0, 2 * logs.QUEUE_RECORDS])
def test_a_sink_that_nobody_reads_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    monkeypatch.setattr(logs, "STOP_SECONDS", 0.1)
    released = threading.Event()

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            released.wait()
            return super().write(text)

    listener = configure_logging("info", "json", Pipe())
    for _ in range(records + 1):
        logging.getLogger("x").info("hello")
    listener.stop()
    assert listener.stuck
    released.set()
    listener.stop()
    assert not listener.stuck


def test_a_full_queue_is_written_to_a_sink_that_works() -> None:
    stream = io.StringIO()
    held = threading.Lock()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            with held:
                return stream.write(text)

    listener = configure_logging("info", "json", Slow())
    with held:
        for _ in range(2 * logs.QUEUE_RECORDS):
            logging.getLogger("x").info("hello")
    lines = written(listener, stream)
    assert not listener.stuck and len(lines) >= logs.QUEUE_RECORDS


def test_lines_that_come_together_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "GATHER_SECONDS", 0.2)
    writes: list[str] = []

    class Sink(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    listener = configure_logging("info", "json", Sink())
    for number in range(20):
        logging.getLogger("x").info("line %d", number)
    listener.stop()
    lines = "".join(writes).splitlines()
    assert [json.loads(line)["message"] for line in lines] == [f"line {number}" for number in range(20)]
    assert len(writes) < 5


def test_a_line_that_cannot_be_written_is_told_and_the_next_are_written() -> None:
    stream = io.StringIO()
    listener = configure_logging("info", "json", stream)
    logging.getLogger("x").info("broken", extra={"fields": {("no", "name"): 1}})
    while not stream.getvalue():
        time.sleep(0.01)
    logging.getLogger("x").info("next")
    told, after = map(json.loads, written(listener, stream))
    assert told["level"] == "error" and "of x" in told["message"]
    assert after["message"] == "next"


def test_uvicorn_writes_no_access_lines_of_its_own() -> None:
    stream = io.StringIO()
    listener = configure_logging("info", "json", stream)
    logging.getLogger("uvicorn.access").info("GET /secret")
    assert written(listener, stream) == []
