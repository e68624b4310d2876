"""What traces cost: the same decisions to services that differ in their traces alone, asked in turns.

`python -m loadtests.trace_cost [--requests 1000] [--write]` needs about a minute, and ends by itself. It has no gate:
what a trace costs decides which share of the requests to trace.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psutil  # type: ignore[import-untyped]

from app.bench.markdown import table
from loadtests import dated_page
from loadtests.machine import machine
from loadtests.processes import Running
from loadtests.ready_service import ready_service

BODY = {
    "model": "repartee-support",
    "input": "I am still waiting for my card",
    "labels": ["card", "refund", "other"],
}
CASES = {"off": None, "5 %": "0.05", "100 %": "1.0"}


class Subject:
    """One service: its decisions' milliseconds, and the processor time of its API process."""

    def __init__(self, service: Running, port: int) -> None:
        self._api = psutil.Process(service.process.pid)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self._ask(50)
        self.milliseconds: list[float] = []
        self._before = self._cpu()

    def ask(self, count: int) -> None:
        """Ask for decisions, one after another."""
        self.milliseconds += self._ask(count)

    def cpu_per_request(self) -> float:
        """Milliseconds of processor time of the API process, its exporting thread included."""
        return (self._cpu() - self._before) / len(self.milliseconds) * 1e3

    def resident(self) -> float:
        """MiB of the API process."""
        return float(self._api.memory_info().rss / 2**20)

    def row(self) -> list[str]:
        """Its cells of the table."""
        p50 = statistics.median(self.milliseconds)
        p99 = statistics.quantiles(self.milliseconds, n=100)[98]
        return [f"{self.cpu_per_request():.2f}", f"{p50:.2f}", f"{p99:.2f}", f"{self.resident():.0f}"]

    def _ask(self, count: int) -> list[float]:
        times = list[float]()
        for _ in range(count):
            started = time.perf_counter()
            self._client.post("/v1/classify", json=BODY).raise_for_status()
            times.append((time.perf_counter() - started) * 1e3)
        return times

    def _cpu(self) -> float:
        times = self._api.cpu_times()
        return float(times.user + times.system)


@contextmanager
def collector() -> Iterator[str]:
    """The URL of a collector that takes everything and keeps nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def measure(requests: int) -> list[list[str]]:
    """Ask every service for so many decisions, in rounds of fifty; the rows of the table."""
    with ExitStack() as stack:
        endpoint = stack.enter_context(collector())
        subjects = dict[str, Subject]()
        for name, ratio in CASES.items():
            values = {"THREADS": "1"}
            if ratio is not None:
                values |= {"TRACES_ENDPOINT": endpoint, "TRACES_SAMPLE_RATIO": ratio}
            service = stack.enter_context(ready_service(values))
            subjects[name] = Subject(service.process, service.port)
        for _ in range(max(1, requests // 50)):
            for subject in subjects.values():
                subject.ask(50)
        return [[name, *subject.row()] for name, subject in subjects.items()]


def report(rows: Sequence[Sequence[str]], command: str) -> str:
    """The dated page."""
    head = ["traced", "API process, ms of a core a request", "p50 ms", "p99 ms", "API process, MiB"]
    return "\n".join(
        [
            f"# What traces cost, {date.today().isoformat()}\n",
            *[f"- {name}: {value}" for name, value in machine().items()],
            f"\nReproduce: `{command}`\n",
            table(head, rows),
        ]
    )


def main() -> None:
    """Measure and print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1000, help="to each service")
    dated_page.add_option(parser, "traces")
    options = parser.parse_args()
    command = f"python -m loadtests.trace_cost --requests {options.requests}"
    page = report(measure(options.requests), command)
    dated_page.publish("traces", page, write=options.write)


if __name__ == "__main__":
    main()
