"""The real Debian Alertmanager with the shipped configuration, and the receiver that all its webhooks lead to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loadtests.processes import free_port, running
from tests.deploy.debian_tools import require
from tests.service.running_service import ROOT

SHIPPED = ROOT / "deploy/alertmanager/alertmanager.yml"
_RECEIVER = "127.0.0.1:9099"
"""Where the shipped configuration sends everything."""
_START_SECONDS = 60.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Notice:
    """One alert as a webhook told of it.

    Attributes:
        at: when, on `time.monotonic`.
        receiver: the webhook's path, such as `/page`.
        status: `firing` or `resolved`.
    """

    at: float
    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass
class Receiver:
    """Takes webhooks and keeps what they tell."""

    address: str = ""
    notices: list[Notice] = field(default_factory=list)

    def take(self, path: str, body: Any) -> None:
        """One webhook."""
        now = time.monotonic()
        self.notices += [
            Notice(now, path, alert["status"], alert["labels"], alert["annotations"])
            for alert in body["alerts"]
        ]

    def wait_for(self, wanted: Callable[[Notice], bool], seconds: float) -> Notice:
        """The first notice of a kind, as soon as it has come.

        Raises:
            TimeoutError: none came for so long.
        """
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if found := next(filter(wanted, list(self.notices)), None):
                return found
            time.sleep(_POLL_SECONDS)
        came = [(notice.receiver, notice.status, notice.labels) for notice in self.notices]
        raise TimeoutError(f"no such notice within {seconds:g} s; those that came: {came}")


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free loopback port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.path, json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield receiver
        finally:
            server.shutdown()


@contextmanager
def running_alertmanager(receiver: Receiver) -> Iterator[str]:
    """Start Alertmanager as shipped but for the address of its webhooks, wait until it is ready; yields its address."""
    program = require("prometheus-alertmanager", "prometheus-alertmanager")
    port = free_port()
    with TemporaryDirectory(prefix="repartee-alertmanager-") as folder:
        config = Path(folder) / "alertmanager.yml"
        shipped = SHIPPED.read_text()
        assert _RECEIVER in shipped
        config.write_text(shipped.replace(_RECEIVER, receiver.address))
        command = [
            program,
            f"--config.file={config}",
            f"--storage.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        with running(command, {}) as process:
            process.wait_for(port, "/-/ready", _START_SECONDS)
            yield f"127.0.0.1:{port}"
