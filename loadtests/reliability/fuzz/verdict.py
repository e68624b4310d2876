"""What a client must never see, whatever it sent."""

import json
import re
from typing import Any

from loadtests.reliability.fuzz.attempt import CANARY, Attempt, Expected
from loadtests.reliability.fuzz.wire import End, Heard, MalformedReply, Reply, replies

ALLOWED = frozenset({200, 400, 401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 503, 504})
"""What the API documents, less the 500, which is a fault of the server's."""
_REQUEST_ID = re.compile("req_[0-9a-f]{32}")
_ERROR_FIELDS = {"message", "type", "param", "code"}
_ECHOED = frozenset({"x-client-request-id"})
"""Comes back as it was sent, where it is a well-formed id."""
_ENGINE_CODES = frozenset({"internal_error", "sequence_failed", "engine_died", "engine_restarting"})
"""Of an error that ends a stream: before the first token it is a 500 or a restart, which are faults as well. For a
failed sequence and a dead engine clients are told `internal_error`; logs and metrics tell them apart."""
_DONE = b"data: [DONE]\n\n"


def judge(attempt: Attempt, heard: Heard) -> tuple[list[Reply], list[str]]:
    """The answers to an input, and what is wrong with them."""
    try:
        found = replies(heard.data, attempt.methods)
    except MalformedReply as malformed:
        return [], [f"malformed answer: {malformed}"]
    faults = [fault for reply in found for fault in _faults(reply, attempt, heard)]
    if heard.end is End.UNREACHABLE:
        faults.append("nobody listens")
    if attempt.expected is Expected.WHOLE and len(found) < len(attempt.methods):
        faults.append(f"no answer: {heard.end.value}")
    if attempt.expected is Expected.REFUSED and any(reply.status < 400 for reply in found):
        faults.append("what must be refused was served")
    return found, faults


def _faults(reply: Reply, attempt: Attempt, heard: Heard) -> list[str]:
    faults = []
    if reply.status not in ALLOWED:
        faults.append(f"status {reply.status}")
    if not _REQUEST_ID.fullmatch(reply.headers.get("x-request-id", "")):
        faults.append("no x-request-id")
    if reply.status >= 400 and _echoes(reply):
        faults.append("an error repeats what the client wrote")
    if not reply.whole:
        # Behind a request, bytes that are no request end the connection, and with it the answer that is being written.
        cut = heard.end in (End.CLOSED, End.RESET) and attempt.expected is Expected.WHOLE
        silent = heard.end is End.SILENT and attempt.expected is Expected.WHOLE
        return [*faults, "the answer has no end"] if cut or silent else faults
    return faults + _faults_of_body(reply)


def _faults_of_body(reply: Reply) -> list[str]:
    if not reply.body:
        return []  # of HEAD
    content_type = reply.headers.get("content-type", "")
    if reply.status >= 400:
        return _faults_of_error(reply, content_type)
    if content_type.startswith("text/event-stream"):
        return faults_of_stream(reply.body)
    if content_type == "application/json" and _json(reply.body) is None:
        return ["a success that is no JSON"]
    return []


def _faults_of_error(reply: Reply, content_type: str) -> list[str]:
    probe = _json(reply.body)
    if reply.status == 503 and isinstance(probe, dict) and set(probe) == {"status"}:
        return []  # readiness
    if content_type != "application/json" or not is_error(probe):
        return ["an error of another shape"]
    if probe["error"]["code"] == "engine_restarting":
        return ["the engine restarts"]
    return []


def is_error(value: Any) -> bool:
    """Whether it is OpenAI's error object."""
    error = value.get("error") if isinstance(value, dict) and set(value) == {"error"} else None
    return (
        isinstance(error, dict)
        and set(error) == _ERROR_FIELDS
        and all(isinstance(error[name], str) and error[name] for name in ("message", "type", "code"))
        and (error["param"] is None or isinstance(error["param"], str))
    )


def faults_of_stream(body: bytes) -> list[str]:
    """What is wrong with a stream that has ended: it says `[DONE]` last, or an error that is not of our own making."""
    events = [event for event in body.split(b"\n\n") if event and not event.startswith(b":")]
    if not body.endswith(b"\n\n") or not all(event.startswith(b"data: ") for event in events):
        return ["a stream that is no events"]
    data = [event.removeprefix(b"data: ") for event in events]
    done = body.endswith(_DONE)
    values = [_json(one) for one in (data[:-1] if done else data)]
    if not all(isinstance(value, dict) for value in values):
        return ["an event that is no JSON"]
    errors = [value for value in values if "error" in value]
    if done:
        return ["an error before [DONE]"] if errors else []
    if not values or errors != values[-1:] or not is_error(errors[0]):
        return ["a stream that just ends"]
    code = errors[0]["error"]["code"]
    return [f"a stream that ends in {code}"] if code in _ENGINE_CODES else []


def _echoes(reply: Reply) -> bool:
    headers = "\n".join(f"{name}: {value}" for name, value in reply.headers.items() if name not in _ECHOED)
    return CANARY.lower() in (headers + reply.body.decode("utf-8", "replace")).lower()


def _json(data: bytes) -> Any:
    """The value, or None where it is no JSON in the strict sense (which `null` alone is taken for, too)."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except ValueError:
        return None
