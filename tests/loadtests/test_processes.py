"""A measured process is waited for, and it and its children are gone afterwards."""

import sys

import psutil
import pytest

from loadtests.processes import ProcessFailed, free_port, running

PARENT = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_waits_weighs_and_ends_the_family() -> None:
    port = free_port()
    with running([sys.executable, "-c", PARENT, str(port)], {}) as server:
        assert server.wait_for(port, "/", 60) > 0
        own, children = server.memory()
        assert own > 0 and children > 0
        child = psutil.Process(int(server.tail().split()[0]))
    assert server.process.returncode is not None
    child.wait(10)
    assert not child.is_running()


def test_a_process_that_ends_early_is_told_with_its_output() -> None:
    with running([sys.executable, "-c", "raise SystemExit('no model')"], {}) as server:
        with pytest.raises(ProcessFailed, match=r"code 1\.\s+no model"):
            server.wait_for(free_port(), "/", 60)
        with pytest.raises(ProcessFailed, match="no model"):
            server.wait(60)


def test_a_process_that_never_answers_is_given_up() -> None:
    with (
        running([sys.executable, "-c", "import time; time.sleep(600)"], {}) as server,
        pytest.raises(ProcessFailed, match=r"No / within 0\.3 s"),
    ):
        server.wait_for(free_port(), "/", 0.3)


def test_variables_reach_the_process() -> None:
    with running(
        [sys.executable, "-c", "import os; print(os.environ['BENCHED'])"], {"BENCHED": "yes"}
    ) as one:
        one.wait(60)
        assert one.tail().strip() == "yes"
