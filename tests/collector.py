"""Collectors of traces on loopback: one that keeps what it gets, one that never answers, and none."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """An OTLP/HTTP receiver: reads the protocol's messages and keeps their spans.

    Attributes:
        status: of its answers.
        resources: resource attributes of the last message.
    """

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.status = 200
        self.resources: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self._spans: list[Span] = []
        self._arrived = threading.Condition()

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        """Read one message."""
        message = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            self.headers = headers
            for resource in message.resource_spans:
                self.resources = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self._spans += scope.spans
            self._arrived.notify_all()

    def wait_for(self, count: int) -> dict[str, Span]:
        """The spans by name, once there are so many."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self._spans) >= count, 30), self._spans
            return {span.name: span for span in self._spans}


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces" and receiver.status == 200:
                receiver.take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(receiver.status if self.path == "/v1/traces" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Collector(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_collector() -> Iterator[str]:
    """The URL of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def no_collector() -> str:
    """A URL whose port refuses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
