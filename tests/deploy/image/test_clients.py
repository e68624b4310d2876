"""Streams are judged by what their client sees: whole with `[DONE]`, refused, or cut."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.image.clients import NotReady, Outcome, counted, steady_streams, stream, wait_until_ready
from loadtests.processes import free_port

WHOLE = b'data: {"choices": []}\n\ndata: [DONE]\n\n'


@contextmanager
def service(status: int, body: bytes, length: int | None = None) -> Iterator[str]:
    """One that answers everything so; `length` promises more than comes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "length", "outcome", "chunks"),
    [
        (200, WHOLE, None, "whole", 2),
        (200, b"data: {}\n\n", None, "cut", 1),
        (200, WHOLE[:10], 500, "cut", 0),
        (200, b'data: {"error": {}}\n\n', None, "cut", 1),
        (503, b"{}", None, "refused", 0),
    ],
)
def test_an_answer(status: int, body: bytes, length: int | None, outcome: Outcome, chunks: int) -> None:
    with service(status, body, length) as url:
        found = stream(url)
    assert (found.outcome, found.chunks) == (outcome, chunks)
    assert found.began <= found.ended


def test_no_connection_is_a_refusal() -> None:
    assert stream(f"http://127.0.0.1:{free_port()}").outcome == "refused"


def test_another_error_is_no_refusal() -> None:
    with service(400, b"{}") as url, pytest.raises(RuntimeError, match="400"):
        stream(url)


def test_steady_clients_ask_again_until_they_are_let_go() -> None:
    with service(200, WHOLE) as url:
        with steady_streams(url, 3) as streams:
            while len(streams) < 12:
                pass
        assert counted(streams, "whole") == len(streams)


def test_readiness_is_a_200_and_its_absence_is_told() -> None:
    with service(200, b"") as url:
        assert wait_until_ready(url, 10) > 0
    with service(503, b"") as url, pytest.raises(NotReady, match="status 503"):
        wait_until_ready(url, 0.2)
