"""What is wrong with an answer, and what is not."""

import json

import pytest

from app.api.error_handlers import describe
from app.errors import EngineDied, EngineRestarting, SequenceFailed
from loadtests.reliability.fuzz.attempt import CANARY, Attempt, Expected, Piece
from loadtests.reliability.fuzz.verdict import faults_of_stream, judge
from loadtests.reliability.fuzz.wire import End, Heard, MalformedReply, replies

ID = "x-request-id: req_" + "0" * 32
ERROR = (
    '{"error": {"message": "No.", "type": "invalid_request_error", "param": null, "code": "invalid_value"}}'
)


def answer(status: int, body: str, *fields: str, kind: str = "application/json") -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"content-type: {kind}", f"content-length: {len(body)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def faults(data: bytes, expected: Expected = Expected.WHOLE, end: End = End.CLOSED) -> list[str]:
    attempt = Attempt("test", 0, "", (Piece(b""),), expected)
    return judge(attempt, Heard(data, end, 0.0))[1]


def test_good_answers_have_no_fault() -> None:
    assert faults(answer(200, "{}", ID)) == []
    assert faults(answer(400, ERROR, ID)) == []
    assert faults(answer(503, '{"status": "starting"}', ID)) == []
    assert faults(answer(400, ERROR, ID, f"x-client-request-id: {CANARY}")) == []


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (answer(500, ERROR, ID), "status 500"),
        (answer(302, "{}", ID), "status 302"),
        (answer(200, "{}"), "no x-request-id"),
        (answer(400, ERROR.replace("No.", CANARY.upper()), ID), "an error repeats what the client wrote"),
        (answer(400, ERROR, ID, f"location: /{CANARY}"), "an error repeats what the client wrote"),
        (answer(400, '{"detail": []}', ID), "an error of another shape"),
        (answer(400, ERROR, ID, kind="text/plain"), "an error of another shape"),
        (answer(503, ERROR.replace("invalid_value", "engine_restarting"), ID), "the engine restarts"),
        (answer(200, '{"score": NaN}', ID), "a success that is no JSON"),
        (answer(200, "{}", ID)[:-1], "the answer has no end"),
        (b"", "no answer: the server closed it"),
    ],
)
def test_each_fault_is_named(data: bytes, fault: str) -> None:
    assert faults(data) == [fault]


def test_what_must_be_refused_may_not_be_served_behind_the_refusal() -> None:
    refused = answer(400, ERROR, ID)
    assert faults(refused, Expected.REFUSED) == [] == faults(b"", Expected.REFUSED)
    assert faults(refused + answer(200, "{}", ID), Expected.REFUSED) == ["what must be refused was served"]


def test_silence_is_a_fault_where_an_answer_is_due() -> None:
    assert faults(b"", end=End.SILENT) == ["no answer: the server said no more"]
    assert faults(b"", Expected.ANY, End.SILENT) == []
    assert faults(b"", Expected.ANY, End.UNREACHABLE) == ["nobody listens"]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ('data: {"a":1}\n\ndata: [DONE]\n\n', []),
        (': keep-alive\n\ndata: {"a":1}\n\ndata: [DONE]\n\n', []),
        (f"data: {{}}\n\ndata: {ERROR}\n\n", []),
        ('data: {"a":1}\n\n', ["a stream that just ends"]),
        ("", ["a stream that is no events"]),
        ('data: {"a":1}\n\ndata: [DONE]', ["a stream that is no events"]),
        ('data: {"a":\n\ndata: [DONE]\n\n', ["an event that is no JSON"]),
        (f"data: {ERROR}\n\ndata: [DONE]\n\n", ["an error before [DONE]"]),
    ],
)
def test_streams(events: str, found: list[str]) -> None:
    assert faults_of_stream(events.encode()) == found


@pytest.mark.parametrize("code", ["internal_error", "sequence_failed", "engine_died", "engine_restarting"])
def test_a_stream_that_the_engine_ends_is_a_fault(code: str) -> None:
    events = f"data: {{}}\n\ndata: {ERROR.replace('invalid_value', code)}\n\n"
    assert faults_of_stream(events.encode()) == [f"a stream that ends in {code}"]
    stream = answer(200, events, ID, kind="text/event-stream; charset=utf-8")
    assert faults(stream) == [f"a stream that ends in {code}"]


def test_what_the_api_tells_of_its_engine_is_among_the_faults() -> None:
    """The codes are those that a client is really told."""
    for error in (SequenceFailed(), EngineDied(), EngineRestarting(1.0)):
        event = f"data: {json.dumps(describe(error, 'req_1'))}\n\n"
        (fault,) = faults_of_stream(event.encode())
        assert fault.startswith("a stream that ends in ")


def test_replies_are_read_strictly() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    (whole,) = replies(chunked + b"3\r\nabc\r\n0\r\n\r\n", ("POST",))
    assert (whole.body, whole.whole) == (b"abc", True)
    (cut,) = replies(chunked + b"3\r\nabc\r\n", ("POST",))
    assert (cut.body, cut.whole) == (b"abc", False)
    both = replies(answer(200, "", ID) + answer(404, ERROR, ID), ("HEAD", "GET"))
    assert [reply.status for reply in both] == [200, 404]
    for garbage in (b"HTTP/1.1 200\r\n", b"hello", answer(200, "{}", ID) + b"more", chunked + b"zz\r\nabc"):
        with pytest.raises(MalformedReply):
            replies(garbage, ("POST",))
