"""What holds the event loop: a prober that sees a stall, and the verdict on what it saw."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from loadtests.reliability.loop_stall import Figures, Stalls, measure, report, verdicts
from loadtests.reliability.prober import probing
from loadtests.reliability.worst_inputs import Input

STALL = 0.2


@pytest.fixture
def port() -> Iterator[int]:
    """A server of one thread: a POST holds it for a while, and every GET meanwhile waits."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            time.sleep(STALL)
            self._answer()

        def _answer(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_stall_is_seen_by_the_prober(port: int) -> None:
    with probing(port) as prober:
        figures = measure(port, prober, [Input("/any", "a slow one", b"{}")], rounds=1)
    (found,) = figures.stalls
    assert found.alone[0] > STALL / 2 and found.together[0] > STALL / 2
    assert found.statuses == {200}
    assert verdicts(figures)[0].verdict == "FAIL"


def stalls(*seconds: float, status: int = 400) -> Figures:
    return Figures([Stalls(Input("/any", "one", b""), list(seconds), list(seconds), {status})], [0.001])


def test_the_usual_round_counts_and_the_worst_is_told() -> None:
    figures = stalls(0.01, 0.02, 0.9)
    assert {gate.verdict for gate in verdicts(figures)} == {"pass"}
    assert "| 20 | 20 | 900 |" in report(figures, "command", 10)


def test_an_answer_that_is_a_fault_of_ours_fails() -> None:
    assert [gate.verdict for gate in verdicts(stalls(0.01, status=500))] == ["pass", "FAIL", "pass"]
    assert [gate.verdict for gate in verdicts(stalls(0.01, status=504))] == ["pass", "pass", "pass"]


def test_an_input_that_was_never_let_in_fails_by_its_name() -> None:
    never, once = stalls(0.01, status=503), stalls(0.01, status=503)
    once.stalls[0].statuses.add(400)
    assert [gate.verdict for gate in verdicts(never)] == ["pass", "pass", "FAIL"]
    assert "**Not tried, since every answer was a 503: /any, one.**" in report(never, "command", 10)
    assert [gate.verdict for gate in verdicts(once)] == ["pass", "pass", "pass"]
