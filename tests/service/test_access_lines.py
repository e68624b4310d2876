"""The log as it is written: one line a request says who asked what of which model, and how it went; no key is in it."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.keys import new_key
from tests.service.running_service import MODEL, Service, running_service

STRANGER = "rp-this-key-is-not-known-to-anybody-here"
CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Where is my refund?"}],
    "max_tokens": 4,
    "ignore_eos": True,
}


class Kept:
    """A service with two keys, and its log."""

    def __init__(self, service: Service, key: str, poor: str, log: Path) -> None:
        self.service, self.key, self.poor = service, key, poor
        self._log = log

    def ask(self, path: str, key: str = "", method: str = "POST", **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.request(method, self.service.url + path, headers=headers, timeout=60, **options)

    def text(self) -> str:
        return self._log.read_text()

    def line(self, request_id: str) -> dict[str, Any]:
        """The one access line of a request."""
        return self._only(lambda line: line.get("request_id") == request_id)

    def refused(self, code: str) -> dict[str, Any]:
        """The one access line with an error of what never became a request."""
        return self._only(lambda line: line.get("error_code") == code)

    def _only(self, wanted: Any) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        limit = time.monotonic() + 20
        while not found and time.monotonic() < limit:  # a thread of its own writes them
            time.sleep(0.01)
            whole, _, _ = self.text().rpartition("\n")
            lines = [json.loads(line) for line in whole.splitlines()]
            found = [line for line in lines if line["logger"] == "app.access" and wanted(line)]
        (line,) = found
        return line


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    directory = tmp_path_factory.mktemp("audit")
    key, entry = new_key("acme", "acme-1")
    poor, limited = new_key("guests", "guest-1")
    entries = [{"id": one.id, "sha256": one.sha256, "tenant": one.tenant} for one in (entry, limited)]
    entries[1] |= {"requests_per_second": 0.001}
    (directory / "keys.json").write_text(json.dumps(entries))
    settings = {"api_keys_file": str(directory / "keys.json"), "log_format": "json", "log_level": "debug"}
    with (
        (directory / "log").open("wb") as log,
        running_service(stderr=log.fileno(), **settings, max_body_bytes="1024") as service,
    ):
        yield Kept(service, key, poor, directory / "log")


def test_an_answer(kept: Kept) -> None:
    answer = kept.ask("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 200
    line, usage = kept.line(answer.headers["x-request-id"]), answer.json()["usage"]
    assert line["time"] and line["level"] == "info"
    expected = {
        "route": "/v1/chat/completions",
        "method": "POST",
        "status": 200,
        "outcome": "ok",
        "tenant": "acme",
        "key_id": "acme-1",
        "model": MODEL,
        "finish_reason": "length",
        "prompt_tokens": usage["prompt_tokens"],
        "generated_tokens": usage["completion_tokens"],
        "cached_tokens": 0,
    }
    assert {name: line[name] for name in expected} == expected
    assert 0 <= line["queue_ms"] <= line["ttft_ms"] <= line["total_ms"]


def test_a_decision(kept: Kept) -> None:
    answer = kept.ask("/v1/classify", json={"model": MODEL, "input": "Where is it?", "labels": ["a", "b"]})
    line = kept.line(answer.headers["x-request-id"])
    assert (line["status"], line["task"], line["model"], line["key_id"]) == (200, "decision", MODEL, "acme-1")
    assert line["prompt_tokens"] > 0 and line["queue_ms"] <= line["total_ms"]


def test_refusals_have_their_line_too(kept: Kept) -> None:
    kept.ask("/version", kept.poor, "GET")
    refused = [
        (kept.ask("/v1/chat/completions", STRANGER, json=CHAT), 401, "invalid_api_key", None),
        (kept.ask("/version", kept.poor, "GET"), 429, "rate_limit_exceeded", "guest-1"),
        (
            kept.ask("/v1/chat/completions", json=CHAT | {"user": "u" * 2000}),
            413,
            "request_too_large",
            "acme-1",
        ),
        (kept.ask("/nowhere", method="GET"), 404, "unknown_url", "acme-1"),
        (kept.ask("/v1/chat/completions", json=CHAT | {"model": "other"}), 404, "model_not_found", "acme-1"),
        (kept.ask("/metrics", method="GET"), 403, "permission_denied", "acme-1"),
    ]
    for answer, status, code, key_id in refused:
        assert answer.status_code == status
        line = kept.line(answer.headers["x-request-id"])
        told = (line["status"], line["error_code"], line["key_id"], line["outcome"])
        assert told == (status, code, key_id, "rejected")


def test_what_never_became_a_request_has_its_line_too(kept: Kept) -> None:
    address = kept.service.url.removeprefix("http://").split(":")
    for target, code in (("/" + "a" * 9000, "url_too_long"), ("/ \x01", "malformed_http")):
        with socket.create_connection((address[0], int(address[1]))) as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            status = int(connection.recv(4096).split()[1])
        line = kept.refused(code)
        assert (line["status"], line["route"], line["outcome"]) == (status, "unmatched", "rejected")


@pytest.mark.parametrize("place", ["authorization", "query", "path", "another header", "malformed"])
def test_an_unknown_key_is_in_no_line(kept: Kept, place: str) -> None:
    path, headers = "/v1/models", {}
    match place:
        case "query":
            path += f"?api_key={STRANGER}"
        case "path":
            path += f"/{STRANGER}"
        case "another header":
            headers = {"x-api-key": STRANGER, "x-request-id": STRANGER, "traceparent": STRANGER}
        case "malformed":
            headers = {"authorization": f"Basic {STRANGER}"}
        case _:
            headers = {"authorization": f"Bearer {STRANGER}"}
    answer = httpx.get(kept.service.url + path, headers=headers)
    assert answer.status_code == 401
    kept.line(answer.headers["x-request-id"])
    assert STRANGER not in kept.text() and kept.key not in kept.text()
