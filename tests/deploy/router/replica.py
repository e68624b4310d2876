"""A replica as the router sees one: probes, answers that say who gave them, refusals, and a stream that waits."""

import json
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

EVENT = b"data: %d\n\n"


class Replica:
    """One on a free loopback port.

    Attributes:
        ready: whether `/readyz` is 200.
        asked: how often each path was asked for, probes aside.
        go_on: lets the stream say its next event.
        left: set when the client of the stream, or of an answer that never comes, has gone away.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = True
        self.asked: Counter[str] = Counter()
        self.go_on = threading.Semaphore(0)
        self.left = threading.Event()
        handler = type("Handler", (_Handler,), {"replica": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Take no more connections; what is open goes on."""
        self._server.shutdown()
        self._server.socket.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """Say nothing: HAProxy ends its checks as soon as it knows the status."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    replica: ClassVar[Replica]

    def do_GET(self) -> None:
        if self.path == "/readyz":
            return self._answer(200 if self.replica.ready else 503)
        self.replica.asked[self.path] += 1
        if self.path == "/stream":
            return self._stream()
        if self.path == "/cut":
            self.close_connection = True
            return None
        if self.path == "/silent":
            self.close_connection = True
            with suppress(ConnectionResetError):
                self.connection.recv(1)
            self.replica.left.set()
            return None
        status = {"/busy": 503, "/limited": 429}.get(self.path, 200)
        return self._answer(status)

    def _answer(self, status: int) -> None:
        body = json.dumps({"replica": self.replica.name}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        if status != 200:
            self.send_header("retry-after", "7")
            self.send_header("retry-after-ms", "6500")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for number in range(3):
                self.wfile.write(EVENT % number)
                while not self.replica.go_on.acquire(timeout=0.1):
                    self.wfile.write(b": waiting\n\n")
        except OSError:
            self.replica.left.set()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
