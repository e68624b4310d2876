"""A service without guards for the bench alone: what they refuse is let through there, and only there."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CHECK = """
from app import logs, main, serve
from app.api.security import AuthMiddleware
from app.metrics import Metrics
from app.settings import Settings
from fastapi.routing import APIRoute
from app.api.strict_json import StrictJsonRoute
from tests.fakes import FakeEngine
from loadtests.reliability.unguarded_service import Everybody, take_out_guards
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

settings = Settings(cors_origins=["http://a"])
before = [one.cls for one in main._middleware(settings, FakeEngine(), Metrics("m"), None, None)]
assert AuthMiddleware in before
take_out_guards()
after = [one.cls for one in main._middleware(settings, FakeEngine(), Metrics("m"), None, None)]
assert after == [*before[:2], Everybody], after
assert serve.uvicorn_config(None, settings, Metrics("m")).http is HttpToolsProtocol
assert StrictJsonRoute.get_route_handler is APIRoute.get_route_handler
assert logs.mask("13800138000") == "13800138000"
"""


def test_nothing_of_the_chain_is_left_and_the_rest_is() -> None:
    """In a process of its own, since it changes the modules."""
    run = subprocess.run([sys.executable, "-c", CHECK], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
